// PLUGIN_ID: nobody starts an agent that asks for nothing.
//
// What is thrown as a string is the error of the interface. To read the operator's [settings]:
//
//   import { settings } from "agent-relay:plugin/host@0.1.0";
//
// console.log writes to the relay's log; an exception is there too, with its place.
import { logged } from "./relay.js";

export const policy = logged({
  describe() {
    return { id: "PLUGIN_ID", version: "0.1.0", kinds: ["spawn"], extensions: [] };
  },

  checkSettings(settings) {
    if (Object.keys(JSON.parse(settings)).length > 0) {
      throw "there are no settings: remove everything below [settings]";
    }
  },

  decide(control, context) {
    if (control.tag === "spawn" && control.val.approvalMode === "open") {
      return { tag: "deny", val: { code: "open_mode", reason: "ask for approval mode guarded or read-only" } };
    }
    return { tag: "allow" };
  },
});
