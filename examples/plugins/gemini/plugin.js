// Provider `gemini`: interactive sessions of the Gemini CLI.
//
// A plugin is a pure function. It runs in a fresh instance for each call, with no file, no network
// and no clock; the relay checks what it answers against the grants in plugin.toml.
//
// Names follow the WIT package: `approval-mode` is `approvalMode`, a variant is `{tag, val}`, an
// option that is absent is null, and the error of a result is thrown.

import host from "agent-relay:plugin/host@0.1.0";

// What the program says in its empty input box. Its dialogs replace it, so nothing is typed
// while one of them waits for a person.
const READY = "Type your message or @path/to/file";

// Session files; both are granted in plugin.toml.
const RELAY_FILE = "relay.json";
const READ_ONLY_FILE = "read-only.toml";

// How the program finds its account, its model and the network.
const PASSED = [
  "GEMINI_API_KEY", "GEMINI_MODEL", "GOOGLE_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS",
  "GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_PROJECT", "GOOGLE_GEMINI_BASE_URL",
  "GOOGLE_GENAI_USE_GCA", "GOOGLE_GENAI_USE_VERTEXAI", "NODE_EXTRA_CA_CERTS",
  "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy",
];

// The program's own names for the three modes.
const APPROVAL = { "open": "yolo", "guarded": "auto_edit", "read-only": "plan" };

// `plan` by itself may still write Markdown for its plans, and a person at the terminal may leave
// it. A policy file of the administrator's tier stands above all of that. The relay's own tools need
// nobody's consent: they are how the agent is spoken to.
const READ_ONLY_POLICY = `[[rule]]
toolName = ["write_file", "replace", "run_shell_command", "save_memory"]
decision = "deny"
priority = 999
denyMessage = "this session was started read-only"

[[rule]]
mcpName = "relay"
toolName = "*"
decision = "allow"
priority = 998
`;

// The most characters of a message that are typed; the whole is in the agent's inbox.
const BODY_SHOWN_MAX = 1000;

const DEFAULTS = { executable: "gemini", model: null, sandbox: false };

function readSettings(json) {
  const settings = { ...DEFAULTS };
  for (const [key, value] of Object.entries(JSON.parse(json))) {
    if (!Object.hasOwn(settings, key)) {
      throw `settings.${key}: unknown; known are ${Object.keys(settings).join(", ")}`;
    }
    const wanted = key === "sandbox" ? "boolean" : "string";
    if (typeof value !== wanted || value === "") {
      throw `settings.${key}: must be a ${wanted}${wanted === "string" ? " that is not empty" : ""}`;
    }
    settings[key] = value;
  }
  return settings;
}

// Who the agent is and how it reads and sends. The program has no flag for such an introduction,
// so it goes before the first prompt. It names the token's variable and holds no token.
function introduction(request, site) {
  const relay = site.relayUrl.replace(/\/+$/, "");
  const id = JSON.stringify(request.agentId);
  const tools = site.mcpUrl === null ? "" : "Prefer the tools of the MCP server `relay`. ";
  return `You are the agent ${id} on an agent relay at ${relay}, where agents and people exchange messages. `
    + `A line that begins with [agent-relay] tells you of a message in your inbox. ${tools}`
    + `Over HTTP, with the header "Authorization: Bearer $${site.tokenVariable}" in every request: `
    + `GET ${relay}/api/messages?for=${encodeURIComponent(request.agentId)}&unread=true reads your inbox, `
    + `POST ${relay}/api/messages with {"to", "body", "replyTo"} sends, `
    + `POST ${relay}/api/messages/ID/read with {"agentId": ${id}} acknowledges. `
    + "Never show or pass on that token. Weigh what messages ask as you would a colleague's request.";
}

function relayServer(site) {
  const server = { httpUrl: site.mcpUrl, headers: { Authorization: `Bearer \${${site.tokenVariable}}` }, trust: true };
  return JSON.stringify({ mcpServers: { relay: server } });
}

function plan(request, site) {
  const settings = readSettings(host.settings());
  const inSession = (name) => `${site.sessionDir.replace(/\/+$/, "")}/${name}`;
  const files = [];
  const env = PASSED.filter((name) => site.hostVariables.includes(name))
    .map((name) => ({ name, value: { tag: "from-host", val: name } }));
  // Free text is joined to its flag, so that a leading dash is no flag of its own.
  const args = [`--approval-mode=${APPROVAL[request.approvalMode]}`];
  if (settings.sandbox) args.push("--sandbox");
  if (settings.model !== null) args.push(`--model=${settings.model}`);
  if (request.approvalMode === "read-only") {
    files.push({ name: READ_ONLY_FILE, contents: READ_ONLY_POLICY });
    args.push(`--admin-policy=${inSession(READ_ONLY_FILE)}`);
  }
  if (site.mcpUrl !== null) {
    files.push({ name: RELAY_FILE, contents: relayServer(site) });
    // The lowest of the program's layers of settings: the user's own stay above it.
    env.push({ name: "GEMINI_CLI_SYSTEM_DEFAULTS_PATH", value: { tag: "literal", val: inSession(RELAY_FILE) } });
  }
  const told = [introduction(request, site)];
  told.push(request.prompt ?? "Wait for messages; there is nothing to do yet.");
  args.push(`--prompt-interactive=${told.join("\n\n")}`);
  return {
    program: settings.executable,
    args,
    env,
    cwd: site.cwd,
    files,
    prompt: { tag: "in-arguments" },
    ready: { screenTexts: [READY], settleMs: 60000 },
    extensions: [],
  };
}

export const provider = {
  describe() {
    // Settings that do not fit are the business of checkSettings.
    let settings = DEFAULTS;
    try {
      settings = readSettings(host.settings());
    } catch (_) { /* told there */ }
    return {
      id: "gemini",
      version: "0.1.0",
      executables: [settings.executable],
      approvalModes: ["open", "guarded", "read-only"],
      takesPrompt: true,
      extensions: [],
    };
  },

  checkSettings(settings) {
    readSettings(settings);
  },

  plan(request, site) {
    try {
      return plan(request, site);
    } catch (problem) {
      // A refusal is text and reaches the caller; anything else is a defect and may trap.
      if (typeof problem === "string") throw { tag: "invalid", val: problem };
      throw problem;
    }
  },

  // One line in which everything that came from others is quoted: it can press no key, cannot pass
  // for another message, and with its `@` escaped names no file to be read.
  present(message) {
    const quoted = (text) => JSON.stringify(text).replaceAll("@", "\\@");
    const subject = message.subject === null ? "" : ` about ${quoted(message.subject)}`;
    const characters = [...message.body];
    const rest = characters.length > BODY_SHOWN_MAX ? " (cut short; the whole is in your inbox)" : "";
    const shown = quoted(characters.slice(0, BODY_SHOWN_MAX).join(""));
    return {
      keysBefore: message.interrupt ? ["Escape"] : [],
      text: `[agent-relay] message ${message.id} from ${quoted(message.sender)}${subject}: ${shown}${rest}`,
      submit: true,
    };
  },

  stop(_reason) {
    return { keys: ["Escape", "C-c", "C-c"], graceMs: 10000 };
  },
};
