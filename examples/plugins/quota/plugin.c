// Policy `quota`: at most so many running agents, in all, of each provider and at each orchestrator.
//
// It counts what the relay says is running at the moment of the decision. Two spawns that are
// decided at the same instant both see the count before either, so a quota can be exceeded by as
// many as are asked for at once: it is a brake, not a lock.

#include "json.h"
#include "policy_plugin.h"
#include "text.h"

// The most running agents a policy is told about; a larger quota could never be reached.
enum { QUOTA_MAX = 1000 };

typedef struct {
    const char *key;
    uint32_t limit;
} quota;

enum { TOTAL, PER_PROVIDER, PER_ORCHESTRATOR, QUOTAS };

typedef struct {
    quota of[QUOTAS];
} settings;

static const settings DEFAULTS = {{
    [TOTAL] = {"total", 20},
    [PER_PROVIDER] = {"per_provider", QUOTA_MAX},
    [PER_ORCHESTRATOR] = {"per_orchestrator", QUOTA_MAX},
}};

static quota *named(settings *set, json_text key) {
    for (size_t i = 0; i < QUOTAS; i++) {
        if (strlen(set->of[i].key) == key.len && memcmp(set->of[i].key, key.ptr, key.len) == 0) {
            return &set->of[i];
        }
    }
    return NULL;
}

// Reads the settings, or says what is wrong with them.
static bool read_settings(const policy_plugin_string_t *from, settings *set, policy_plugin_string_t *err) {
    *set = DEFAULTS;
    json in = {from->ptr, from->ptr + from->len};
    json_text key = {0};
    text problem = {0};
    bool first = true;
    bool object = json_mark(&in, '{');
    while (object && json_key(&in, &first, &key)) {
        quota *one = named(set, key);
        if (!one) {
            text_add(&problem, "settings.");
            text_bytes(&problem, key.ptr, key.len);
            text_add(&problem, ": unknown; known are total, per_provider and per_orchestrator");
        } else if (!json_number(&in, QUOTA_MAX, &one->limit)) {
            text_add(&problem, "settings.");
            text_add(&problem, one->key);
            text_add(&problem, ": must be a whole number of 0 to 1000");
        } else {
            continue;
        }
        *err = text_done(problem);
        return false;
    }
    if (!object || !json_mark(&in, '}') || !json_ended(&in)) {
        policy_plugin_string_set(err, "settings: not an object of whole numbers");
        return false;
    }
    return true;
}

static bool same(const policy_plugin_string_t *a, const policy_plugin_string_t *b) {
    return a->len == b->len && memcmp(a->ptr, b->ptr, a->len) == 0;
}

static bool same_option(const policy_plugin_option_string_t *a, const policy_plugin_option_string_t *b) {
    return a->is_some == b->is_some && (!a->is_some || same(&a->val, &b->val));
}

// Denies if `count` has reached its quota. `what` is who is counted, as the reason puts it.
static bool reached(quota limit, uint32_t count, const char *code, text what,
                    exports_agent_relay_plugin_policy_verdict_t *ret) {
    if (count < limit.limit) {
        return false;
    }
    text_add(&what, " may run ");
    text_number(&what, limit.limit);
    text_add(&what, " and already runs ");
    text_number(&what, count);
    text_add(&what, limit.limit ? "; try again once one has ended, or shut one down"
                                : "; ask for another provider or place");
    ret->tag = EXPORTS_AGENT_RELAY_PLUGIN_POLICY_VERDICT_DENY;
    policy_plugin_string_set(&ret->val.deny.code, code);
    ret->val.deny.reason = text_done(what);
    return true;
}

void exports_agent_relay_plugin_policy_describe(exports_agent_relay_plugin_policy_description_t *ret) {
    static exports_agent_relay_plugin_policy_control_kind_t kinds[] = {
        EXPORTS_AGENT_RELAY_PLUGIN_POLICY_CONTROL_KIND_SPAWN};
    policy_plugin_string_set(&ret->id, "quota");
    policy_plugin_string_set(&ret->version, "0.1.0");
    // What is restarted runs already, and a shutdown only makes room.
    ret->kinds.ptr = kinds;
    ret->kinds.len = 1;
    ret->extensions.len = 0;
}

bool exports_agent_relay_plugin_policy_check_settings(policy_plugin_string_t *from, policy_plugin_string_t *err) {
    settings set;
    return read_settings(from, &set, err);
}

bool exports_agent_relay_plugin_policy_decide(exports_agent_relay_plugin_policy_control_t *control,
                                              exports_agent_relay_plugin_policy_context_t *context,
                                              exports_agent_relay_plugin_policy_verdict_t *ret,
                                              policy_plugin_string_t *err) {
    ret->tag = EXPORTS_AGENT_RELAY_PLUGIN_POLICY_VERDICT_ALLOW;
    if (control->tag != EXPORTS_AGENT_RELAY_PLUGIN_POLICY_CONTROL_SPAWN) {
        return true;
    }
    policy_plugin_string_t json;
    agent_relay_plugin_host_settings(&json);
    settings set;
    if (!read_settings(&json, &set, err)) {
        return false;
    }
    const exports_agent_relay_plugin_policy_spawn_t *spawn = &control->val.spawn;
    uint32_t count[QUOTAS] = {0};
    for (size_t i = 0; i < context->running.len; i++) {
        const exports_agent_relay_plugin_policy_running_agent_t *agent = &context->running.ptr[i];
        count[TOTAL]++;
        count[PER_PROVIDER] += same(&agent->provider, &spawn->provider);
        count[PER_ORCHESTRATOR] += same_option(&agent->orchestrator, &spawn->site.orchestrator);
    }
    text all = {0}, provider = {0}, place = {0};
    text_add(&all, "this relay");
    text_add(&provider, "provider ");
    text_quoted(&provider, spawn->provider.ptr, spawn->provider.len);
    if (spawn->site.orchestrator.is_some) {
        text_add(&place, "orchestrator ");
        text_quoted(&place, spawn->site.orchestrator.val.ptr, spawn->site.orchestrator.val.len);
    } else {
        text_add(&place, "the relay's own host");
    }
    (void)(reached(set.of[TOTAL], count[TOTAL], "quota_total", all, ret) ||
           reached(set.of[PER_PROVIDER], count[PER_PROVIDER], "quota_provider", provider, ret) ||
           reached(set.of[PER_ORCHESTRATOR], count[PER_ORCHESTRATOR], "quota_orchestrator", place, ret));
    return true;
}
