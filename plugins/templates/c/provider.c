// PLUGIN_ID: starts the program of that name.
//
// bindings/ is made of wit/ by wit-bindgen; what each field means stands in provider_plugin.h. Memory
// need not be freed: every call gets a new instance.

#include "provider_plugin.h"

#define MODE_GUARDED AGENT_RELAY_PLUGIN_TYPES_APPROVAL_MODE_GUARDED
#define PROMPT_IN_ARGUMENTS EXPORTS_AGENT_RELAY_PLUGIN_PROVIDER_PROMPT_DELIVERY_IN_ARGUMENTS
#define PROMPT_TYPED EXPORTS_AGENT_RELAY_PLUGIN_PROVIDER_PROMPT_DELIVERY_TYPED
#define UNSUPPORTED_MODE EXPORTS_AGENT_RELAY_PLUGIN_PROVIDER_PLAN_ERROR_UNSUPPORTED_APPROVAL_MODE

static uint8_t modes[] = {MODE_GUARDED};
static provider_plugin_string_t executables[1];
static provider_plugin_string_t stop_keys[1];

void exports_agent_relay_plugin_provider_describe(exports_agent_relay_plugin_provider_description_t *description) {
    provider_plugin_string_set(&description->id, "PLUGIN_ID");
    provider_plugin_string_set(&description->version, "0.1.0");
    provider_plugin_string_set(&executables[0], "PLUGIN_ID");
    description->executables.ptr = executables;
    description->executables.len = 1;
    description->approval_modes.ptr = modes;
    description->approval_modes.len = sizeof modes;
    description->takes_prompt = true;
    description->extensions.ptr = NULL;
    description->extensions.len = 0;
}

bool exports_agent_relay_plugin_provider_check_settings(provider_plugin_string_t *settings,
                                                        provider_plugin_string_t *error) {
    if (settings->len <= 2) {
        return true;
    }
    provider_plugin_string_set(error, "there are no settings: remove everything below [settings]");
    return false;
}

bool exports_agent_relay_plugin_provider_plan(exports_agent_relay_plugin_provider_spawn_request_t *request,
                                              exports_agent_relay_plugin_provider_launch_site_t *site,
                                              exports_agent_relay_plugin_provider_launch_plan_t *plan,
                                              exports_agent_relay_plugin_provider_plan_error_t *error) {
    if (request->approval_mode != MODE_GUARDED) {
        error->tag = UNSUPPORTED_MODE;
        error->val.unsupported_approval_mode = request->approval_mode;
        return false;
    }
    // Everything that is not named here is zero: an empty list.
    *plan = (exports_agent_relay_plugin_provider_launch_plan_t){0};
    provider_plugin_string_set(&plan->program, "PLUGIN_ID");
    plan->cwd = site->cwd;
    plan->prompt.tag = request->prompt.is_some ? PROMPT_TYPED : PROMPT_IN_ARGUMENTS;
    // Name a text that only its input shows; without one the relay looks for what looks like an input.
    plan->ready.settle_ms = 1000;
    return true;
}

void exports_agent_relay_plugin_provider_present(exports_agent_relay_plugin_provider_message_t *message,
                                                 exports_agent_relay_plugin_provider_presentation_t *presentation) {
    presentation->keys_before.ptr = NULL;
    presentation->keys_before.len = 0;
    presentation->text = message->body;
    presentation->submit = true;
}

void exports_agent_relay_plugin_provider_stop(exports_agent_relay_plugin_provider_stop_reason_t reason,
                                              exports_agent_relay_plugin_provider_stop_plan_t *plan) {
    provider_plugin_string_set(&stop_keys[0], "C-c");
    plan->keys.ptr = stop_keys;
    plan->keys.len = 1;
    plan->grace_ms = 5000;
}
