// PLUGIN_ID: nobody starts an agent that asks for nothing.
//
// bindings/ is made of wit/ by wit-bindgen; what each field means stands in policy_plugin.h. Memory
// need not be freed: every call gets a new instance.

#include "policy_plugin.h"

#define MODE_OPEN AGENT_RELAY_PLUGIN_TYPES_APPROVAL_MODE_OPEN
#define KIND_SPAWN EXPORTS_AGENT_RELAY_PLUGIN_POLICY_CONTROL_KIND_SPAWN
#define CONTROL_SPAWN EXPORTS_AGENT_RELAY_PLUGIN_POLICY_CONTROL_SPAWN
#define VERDICT_ALLOW EXPORTS_AGENT_RELAY_PLUGIN_POLICY_VERDICT_ALLOW
#define VERDICT_DENY EXPORTS_AGENT_RELAY_PLUGIN_POLICY_VERDICT_DENY

static uint8_t kinds[] = {KIND_SPAWN};

void exports_agent_relay_plugin_policy_describe(exports_agent_relay_plugin_policy_description_t *description) {
    policy_plugin_string_set(&description->id, "PLUGIN_ID");
    policy_plugin_string_set(&description->version, "0.1.0");
    description->kinds.ptr = kinds;
    description->kinds.len = sizeof kinds;
    description->extensions.ptr = NULL;
    description->extensions.len = 0;
}

bool exports_agent_relay_plugin_policy_check_settings(policy_plugin_string_t *settings,
                                                      policy_plugin_string_t *error) {
    if (settings->len <= 2) {
        return true;
    }
    policy_plugin_string_set(error, "there are no settings: remove everything below [settings]");
    return false;
}

bool exports_agent_relay_plugin_policy_decide(exports_agent_relay_plugin_policy_control_t *control,
                                              exports_agent_relay_plugin_policy_context_t *context,
                                              exports_agent_relay_plugin_policy_verdict_t *verdict,
                                              policy_plugin_string_t *error) {
    verdict->tag = VERDICT_ALLOW;
    if (control->tag == CONTROL_SPAWN && control->val.spawn.approval_mode == MODE_OPEN) {
        verdict->tag = VERDICT_DENY;
        policy_plugin_string_set(&verdict->val.deny.code, "open_mode");
        policy_plugin_string_set(&verdict->val.deny.reason, "ask for approval mode guarded or read-only");
    }
    return true;
}
