// A server's configuration and stderr, fetched each time it is unfolded.

import { Access } from "./access.js";
import { fromTemplate, say, sayOrHide } from "./dom.js";
import { NONE } from "./format.js";

export class About {
  #server;
  #access;
  #parts;

  constructor(server, access, parts) {
    this.#server = server;
    this.#access = access;
    this.#parts = parts;
    parts.about.addEventListener("toggle", () => parts.about.open && this.#load());
  }

  async #load() {
    try {
      // A name of dots only would be taken for a folder.
      const name = /^\.{1,2}$/.test(this.#server) ? `mcp.${this.#server}` : this.#server;
      const url = `api/v1/mcp/servers/${encodeURIComponent(name)}`;
      const response = await this.#access.fetch(url, {}, "The configuration of a server needs a bearer token.");
      if (!response.ok) throw new Error(await Access.problem(response));
      this.#show(await response.json());
      sayOrHide(this.#parts.aboutError, "");
    } catch (error) {
      const why = error instanceof TypeError ? "nothing answers at this address" : error.message;
      sayOrHide(this.#parts.aboutError, `Not shown: ${why}`);
    }
  }

  #show({ definition, source, settings, stderr }) {
    const parts = this.#parts;
    say(parts.target, definition ? (definition.url ?? commandLine(definition)) : NONE);
    say(parts.origin, source);
    say(parts.stderr, stderr.length > 0 ? stderr.join("\n") : "Nothing was written.");
    parts.settings.replaceChildren(...settings.map(row));
  }
}

function commandLine({ command, args = [] }) {
  const quoted = [command, ...args].map((word) => (/^[\w@%+=:,./*${}-]+$/.test(word) ? word : JSON.stringify(word)));
  return quoted.join(" ");
}

function row({ setting, value, origin }) {
  const { element, parts } = fromTemplate("setting");
  say(parts.name, setting);
  say(parts.value, typeof value === "string" ? value : JSON.stringify(value));
  say(parts.from, origin);
  return element;
}
