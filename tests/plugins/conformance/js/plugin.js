// Policy `conformance` in JavaScript. What it answers is in ../README.md.

import host from "agent-relay:plugin/host@0.1.0";

const text = (value) => `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
const plain = (value) => String(value);
const option = (show) => (value) => (value === null || value === undefined ? "none" : show(value));
const list = (show) => (values) => `[${[...values].map(show).join(",")}]`;
const camel = (name) => name.replace(/-(.)/g, (_, letter) => letter.toUpperCase());
// The fields are named as in wit/; the bindings name them in camel case.
const record = (fields) => (value) =>
  `{${Object.entries(fields).map(([name, show]) => `${name}=${show(value[camel(name)])}`).join(",")}}`;

const extensions = list(record({ "name": text, "value": text }));
const path = record({ "given": text, "normalised": text, "resolved": option(text) });
const site = record({ "orchestrator": option(text), "hostname": text, "base-dir": path });
const spawn = record({
  "provider": text, "approval-mode": plain, "cwd": path, "label": option(text), "prompt": option(text), "site": site,
  "extensions": extensions,
});
const agent = record({
  "id": text, "name": text, "label": option(text), "tags": list(text), "capabilities": list(text),
  "machine": option(text), "status": text, "site": option(site),
});
const target = ({ tag, val }) => `{${tag}${tag === "agent" ? agent(val) : site(val)}}`;
const control = ({ tag, val }) => `${tag}${tag === "spawn" ? spawn(val) : target(val)}`;
const caller = record({
  "name": text, "agent-id": option(text), "administrator": plain, "scopes": list(text), "loopback": plain,
});
const running = record({
  "agent-id": text, "provider": text, "cwd": text, "label": option(text), "approval-mode": plain,
  "orchestrator": option(text), "started-at-ms": plain,
});
const context = record({ "caller": caller, "now-ms": plain, "running": list(running), "extensions": extensions });

const deny = (code, reason) => ({ tag: "deny", val: { code, reason } });
const amend = (cwd, approvalMode) => ({ tag: "amend", val: { cwd, approvalMode, reason: "amended as asked" } });

export const policy = {
  describe() {
    return { id: "conformance", version: "0.1.0", kinds: ["spawn", "restart", "shutdown"], extensions: [] };
  },

  checkSettings(settings) {
    for (const [key, value] of Object.entries(JSON.parse(settings))) {
      if (key === "refuse") throw `settings.refuse: ${value}`;
      if (key !== "note") throw `settings.${key}: unknown`;
    }
  },

  decide(asked, known) {
    switch (asked.tag === "spawn" ? asked.val.label : null) {
      case "allow":
        return { tag: "allow" };
      case "deny":
        return deny("conformance", "denied as asked");
      case "amend-cwd":
        return amend(`${asked.val.cwd.normalised}/narrower`, null);
      case "amend-mode":
        return amend(null, "read-only");
      case "amend-both":
        return amend(`${asked.val.cwd.normalised}/narrower`, "read-only");
      case "error":
        throw "nothing is known, as asked";
      case "log":
        for (const level of ["trace", "debug", "info", "warn", "error"]) host.log(level, `a line at ${level}`);
        return { tag: "allow" };
      case "settings":
        return deny("settings", host.settings());
      default:
        return deny("echo", `${control(asked)} context${context(known)}`);
    }
  },
};
