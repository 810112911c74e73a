// Policy `conformance` in C. What it answers is in ../README.md.

#include "json.h"
#include "policy_plugin.h"
#include "text.h"

typedef exports_agent_relay_plugin_policy_verdict_t verdict;

static void deny(verdict *ret, const char *code, policy_plugin_string_t reason) {
    ret->tag = EXPORTS_AGENT_RELAY_PLUGIN_POLICY_VERDICT_DENY;
    policy_plugin_string_set(&ret->val.deny.code, code);
    ret->val.deny.reason = reason;
}

static void amend(verdict *ret, const policy_plugin_string_t *cwd, bool read_only) {
    exports_agent_relay_plugin_policy_amendment_t *to = &ret->val.amend;
    ret->tag = EXPORTS_AGENT_RELAY_PLUGIN_POLICY_VERDICT_AMEND;
    to->cwd.is_some = cwd != NULL;
    if (cwd) {
        text path = {0};
        text_bytes(&path, cwd->ptr, cwd->len);
        text_add(&path, "/narrower");
        to->cwd.val = text_done(path);
    }
    to->approval_mode.is_some = read_only;
    to->approval_mode.val = AGENT_RELAY_PLUGIN_TYPES_APPROVAL_MODE_READ_ONLY;
    policy_plugin_string_set(&to->reason, "amended as asked");
}

// The line: `name` is what goes before a value, with its comma or brace.

static void add_text(text *to, const char *name, const policy_plugin_string_t *value) {
    text_add(to, name);
    text_quoted(to, value->ptr, value->len);
}

static void add_option(text *to, const char *name, const policy_plugin_option_string_t *value) {
    if (value->is_some) {
        add_text(to, name, &value->val);
    } else {
        text_add(to, name);
        text_add(to, "none");
    }
}

static void add_truth(text *to, const char *name, bool value) {
    text_add(to, name);
    text_add(to, value ? "true" : "false");
}

static void add_texts(text *to, const char *name, const policy_plugin_list_string_t *values) {
    text_add(to, name);
    text_add(to, "[");
    for (size_t i = 0; i < values->len; i++) {
        add_text(to, i ? "," : "", &values->ptr[i]);
    }
    text_add(to, "]");
}

static void add_mode(text *to, const char *name, agent_relay_plugin_types_approval_mode_t mode) {
    static const char *const names[] = {"open", "guarded", "read-only"};
    text_add(to, name);
    text_add(to, names[mode]);
}

static void add_extensions(text *to, const exports_agent_relay_plugin_policy_list_extension_t *values) {
    text_add(to, ",extensions=[");
    for (size_t i = 0; i < values->len; i++) {
        add_text(to, i ? ",{name=" : "{name=", &values->ptr[i].name);
        add_text(to, ",value=", &values->ptr[i].value);
        text_add(to, "}");
    }
    text_add(to, "]");
}

static void add_path(text *to, const char *name, const agent_relay_plugin_types_path_facts_t *path) {
    text_add(to, name);
    add_text(to, "{given=", &path->given);
    add_text(to, ",normalised=", &path->normalised);
    add_option(to, ",resolved=", &path->resolved);
    text_add(to, "}");
}

static void add_site(text *to, const char *name, const agent_relay_plugin_types_site_t *site) {
    text_add(to, name);
    add_option(to, "{orchestrator=", &site->orchestrator);
    add_text(to, ",hostname=", &site->hostname);
    add_path(to, ",base-dir=", &site->base_dir);
    text_add(to, "}");
}

static void add_spawn(text *to, const exports_agent_relay_plugin_policy_spawn_t *spawn) {
    add_text(to, "{provider=", &spawn->provider);
    add_mode(to, ",approval-mode=", spawn->approval_mode);
    add_path(to, ",cwd=", &spawn->cwd);
    add_option(to, ",label=", &spawn->label);
    add_option(to, ",prompt=", &spawn->prompt);
    add_site(to, ",site=", &spawn->site);
    add_extensions(to, &spawn->extensions);
    text_add(to, "}");
}

static void add_agent(text *to, const exports_agent_relay_plugin_policy_agent_facts_t *agent) {
    add_text(to, "{agent{id=", &agent->id);
    add_text(to, ",name=", &agent->name);
    add_option(to, ",label=", &agent->label);
    add_texts(to, ",tags=", &agent->tags);
    add_texts(to, ",capabilities=", &agent->capabilities);
    add_option(to, ",machine=", &agent->machine);
    add_text(to, ",status=", &agent->status);
    if (agent->site.is_some) {
        add_site(to, ",site=", &agent->site.val);
    } else {
        text_add(to, ",site=none");
    }
    text_add(to, "}}");
}

static void add_target(text *to, const exports_agent_relay_plugin_policy_target_t *target) {
    if (target->tag == EXPORTS_AGENT_RELAY_PLUGIN_POLICY_TARGET_AGENT) {
        add_agent(to, &target->val.agent);
    } else {
        add_site(to, "{every-agent-of", &target->val.every_agent_of);
        text_add(to, "}");
    }
}

static void add_context(text *to, const exports_agent_relay_plugin_policy_context_t *context) {
    add_text(to, " context{caller={name=", &context->caller.name);
    add_option(to, ",agent-id=", &context->caller.agent_id);
    add_truth(to, ",administrator=", context->caller.administrator);
    add_texts(to, ",scopes=", &context->caller.scopes);
    add_truth(to, ",loopback=", context->caller.loopback);
    text_add(to, "},now-ms=");
    text_number(to, context->now_ms);
    text_add(to, ",running=[");
    for (size_t i = 0; i < context->running.len; i++) {
        const exports_agent_relay_plugin_policy_running_agent_t *agent = &context->running.ptr[i];
        add_text(to, i ? ",{agent-id=" : "{agent-id=", &agent->agent_id);
        add_text(to, ",provider=", &agent->provider);
        add_text(to, ",cwd=", &agent->cwd);
        add_option(to, ",label=", &agent->label);
        add_mode(to, ",approval-mode=", agent->approval_mode);
        add_option(to, ",orchestrator=", &agent->orchestrator);
        text_add(to, ",started-at-ms=");
        text_number(to, agent->started_at_ms);
        text_add(to, "}");
    }
    text_add(to, "]");
    add_extensions(to, &context->extensions);
    text_add(to, "}");
}

static policy_plugin_string_t line(const exports_agent_relay_plugin_policy_control_t *control,
                                   const exports_agent_relay_plugin_policy_context_t *context) {
    text to = {0};
    switch (control->tag) {
    case EXPORTS_AGENT_RELAY_PLUGIN_POLICY_CONTROL_SPAWN:
        text_add(&to, "spawn");
        add_spawn(&to, &control->val.spawn);
        break;
    case EXPORTS_AGENT_RELAY_PLUGIN_POLICY_CONTROL_RESTART:
        text_add(&to, "restart");
        add_target(&to, &control->val.restart);
        break;
    default:
        text_add(&to, "shutdown");
        add_target(&to, &control->val.shutdown);
    }
    add_context(&to, context);
    return text_done(to);
}

static bool is(json_text given, const char *word) {
    return given.len == strlen(word) && memcmp(given.ptr, word, given.len) == 0;
}

void exports_agent_relay_plugin_policy_describe(exports_agent_relay_plugin_policy_description_t *ret) {
    static exports_agent_relay_plugin_policy_control_kind_t kinds[] = {
        EXPORTS_AGENT_RELAY_PLUGIN_POLICY_CONTROL_KIND_SPAWN,
        EXPORTS_AGENT_RELAY_PLUGIN_POLICY_CONTROL_KIND_RESTART,
        EXPORTS_AGENT_RELAY_PLUGIN_POLICY_CONTROL_KIND_SHUTDOWN,
    };
    policy_plugin_string_set(&ret->id, "conformance");
    policy_plugin_string_set(&ret->version, "0.1.0");
    ret->kinds.ptr = kinds;
    ret->kinds.len = sizeof kinds / sizeof *kinds;
    ret->extensions.len = 0;
}

bool exports_agent_relay_plugin_policy_check_settings(policy_plugin_string_t *settings, policy_plugin_string_t *err) {
    json in = {settings->ptr, settings->ptr + settings->len};
    json_text key, value;
    bool first = true;
    bool object = json_mark(&in, '{');
    while (object && json_key(&in, &first, &key)) {
        text problem = {0};
        text_add(&problem, "settings.");
        text_bytes(&problem, key.ptr, key.len);
        if (!is(key, "note") && !is(key, "refuse")) {
            text_add(&problem, ": unknown");
        } else if (!json_string(&in, &value)) {
            text_add(&problem, ": must be a text");
        } else if (is(key, "refuse")) {
            text_add(&problem, ": ");
            text_bytes(&problem, value.ptr, value.len);
        } else {
            continue;
        }
        *err = text_done(problem);
        return false;
    }
    if (!object || !json_mark(&in, '}') || !json_ended(&in)) {
        policy_plugin_string_set(err, "settings: not an object of texts");
        return false;
    }
    return true;
}

bool exports_agent_relay_plugin_policy_decide(exports_agent_relay_plugin_policy_control_t *control,
                                              exports_agent_relay_plugin_policy_context_t *context, verdict *ret,
                                              policy_plugin_string_t *err) {
    const exports_agent_relay_plugin_policy_spawn_t *spawn = &control->val.spawn;
    json_text wish = {0};
    if (control->tag == EXPORTS_AGENT_RELAY_PLUGIN_POLICY_CONTROL_SPAWN && spawn->label.is_some) {
        wish = (json_text){spawn->label.val.ptr, spawn->label.val.len};
    }
    policy_plugin_string_t reason;
    ret->tag = EXPORTS_AGENT_RELAY_PLUGIN_POLICY_VERDICT_ALLOW;
    if (is(wish, "deny")) {
        policy_plugin_string_set(&reason, "denied as asked");
        deny(ret, "conformance", reason);
    } else if (is(wish, "amend-cwd")) {
        amend(ret, &spawn->cwd.normalised, false);
    } else if (is(wish, "amend-mode")) {
        amend(ret, NULL, true);
    } else if (is(wish, "amend-both")) {
        amend(ret, &spawn->cwd.normalised, true);
    } else if (is(wish, "error")) {
        policy_plugin_string_set(err, "nothing is known, as asked");
        return false;
    } else if (is(wish, "log")) {
        static const char *const lines[] = {"a line at trace", "a line at debug", "a line at info", "a line at warn",
                                            "a line at error"};
        for (uint8_t level = AGENT_RELAY_PLUGIN_HOST_LEVEL_TRACE; level <= AGENT_RELAY_PLUGIN_HOST_LEVEL_ERROR;
             level++) {
            policy_plugin_string_t message;
            policy_plugin_string_set(&message, lines[level]);
            agent_relay_plugin_host_log(level, &message);
        }
    } else if (is(wish, "settings")) {
        agent_relay_plugin_host_settings(&reason);
        deny(ret, "settings", reason);
    } else if (!is(wish, "allow")) {
        deny(ret, "echo", line(control, context));
    }
    return true;
}
