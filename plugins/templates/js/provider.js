// PLUGIN_ID: starts the program of that name.
//
// What is thrown is the error of the interface. To read the operator's [settings]:
//
//   import { settings } from "agent-relay:plugin/host@0.1.0";
//
// console.log writes to the relay's log; an exception is there too, with its place.
import { logged } from "./relay.js";

export const provider = logged({
  describe() {
    return {
      id: "PLUGIN_ID",
      version: "0.1.0",
      executables: ["PLUGIN_ID"],
      approvalModes: ["guarded"],
      takesPrompt: true,
      extensions: [],
    };
  },

  checkSettings(settings) {
    if (Object.keys(JSON.parse(settings)).length > 0) {
      throw "there are no settings: remove everything below [settings]";
    }
  },

  plan(request, site) {
    if (request.approvalMode !== "guarded") {
      throw { tag: "unsupported-approval-mode", val: request.approvalMode };
    }
    return {
      program: "PLUGIN_ID",
      args: [],
      env: [],
      cwd: site.cwd,
      files: [],
      prompt: { tag: request.prompt === null ? "in-arguments" : "typed" },
      // Name a text that only its input shows; without one the relay looks for what looks like an input.
      ready: { screenTexts: [], settleMs: 1000 },
      extensions: [],
    };
  },

  present(message) {
    return { keysBefore: [], text: message.body, submit: true };
  },

  stop(reason) {
    return { keys: ["C-c"], graceMs: 5000 };
  },
});
