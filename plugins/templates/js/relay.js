// What this plugin says in the relay's log: what it prints, and where a mistake of its own came from.
import { log } from "agent-relay:plugin/host@0.1.0";

const LEVELS = { debug: "debug", log: "info", info: "info", warn: "warn", error: "error" };

const said = (word) => (typeof word === "string" ? word : JSON.stringify(word));

globalThis.console ??= Object.fromEntries(
  Object.entries(LEVELS).map(([name, level]) => [name, (...words) => log(level, words.map(said).join(" "))]),
);

// The same functions, which write an exception with its place to the log before it ends the call. Anything else that is
// thrown is an answer.
export const logged = (functions) =>
  Object.fromEntries(
    Object.entries(functions).map(([name, called]) => [
      name,
      (...given) => {
        try {
          return called(...given);
        } catch (error) {
          if (error instanceof Error) {
            log("error", `${name}: ${error} ${error.stack ?? ""}`);
          }
          throw error;
        }
      },
    ]),
  );
