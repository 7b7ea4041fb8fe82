// Clients of a gateway, and tools that have changed. Fetched while the page is visible; elsewhere there are none.

import { KeyedList, byId, fromTemplate, say, show } from "./dom.js";
import { count, span } from "./format.js";

export class Clients {
  #access;
  #clients = new KeyedList(byId("clients"), () => new Row("client"));
  #tools = new KeyedList(byId("changed-tools"), () => new Row("changed-tool"));
  #isGateway = true;
  #fetching = false;

  constructor(access) {
    this.#access = access;
  }

  /** Fetches them again. What cannot be fetched stays as it was. */
  async refresh() {
    if (!this.#isGateway || this.#fetching) return;
    this.#fetching = true;
    try {
      const response = await this.#access.fetch("api/v1/mcp/clients");
      if (response.ok) this.#show(await response.json());
    } catch {
      // The stream says that the connection is lost.
    } finally {
      this.#fetching = false;
    }
  }

  #show({ is_gateway, clients, changed_tools }) {
    this.#isGateway = is_gateway;
    show(byId("gateway"), is_gateway);
    say(byId("clients-count"), clients.length > 0 ? count(clients.length) : "");
    show(byId("clients-empty"), clients.length === 0);
    this.#clients.update(clients.map((client, index) => [index, shownClient(client)]));
    this.#tools.update(changed_tools.map((tool) => [`${tool.server} ${tool.tool}`, shownTool(tool)]));
  }
}

class Row {
  #parts;

  constructor(template) {
    const { element, parts } = fromTemplate(template);
    this.element = element;
    this.#parts = parts;
  }

  update(texts) {
    for (const [part, text] of Object.entries(texts)) say(this.#parts[part], text);
  }
}

function shownClient(client) {
  const idle = client.idle_seconds === undefined ? "in use" : `idle ${span(client.idle_seconds)}`;
  return {
    name: `${client.name} ${client.version}`.trim() || "unnamed",
    principal: client.principal,
    facts: `${client.era}, ${client.path}, ${count(client.calls)} calls, ${count(client.in_flight)} in flight, ${idle}`,
  };
}

function shownTool({ server, tool, new_sha256, differences }) {
  return {
    tool: `${server}: ${tool}`,
    differences: differences.join("\n"),
    approve: `mcp-pool approve ${server}.${tool} --sha256 ${new_sha256}`,
  };
}
