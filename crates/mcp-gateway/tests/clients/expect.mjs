// What the scripts for the TypeScript SDKs share: one observation for each feature, printed as JSON at the end.

const seen = {};

/** Notes what `observe` returns, or the error that it ends with. */
export async function note(feature, observe) {
  try {
    seen[feature] = await within(observe(), 30_000);
    if (process.env.VERBOSE) console.error(feature, JSON.stringify(seen[feature]));
  } catch (error) {
    seen[feature] = `${error.name}: ${error.message}`.slice(0, 500);
  }
}

export function print() {
  // What a failed observation still waits for does not keep the process.
  process.stdout.write(`${JSON.stringify(seen)}\n`, () => process.exit(0));
}

/** Waits for a condition to hold. */
async function until(holds) {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20));
}

function within(promise, ms) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What a client of this name answers when it is asked, and what it has received. */
export function person(name) {
  const received = { urls: [], updates: [], logs: [], changes: 0 };
  return {
    received,
    sample: () => ({ role: "assistant", model: `${name} model`, content: { type: "text", text: "hello" } }),
    roots: () => ({ roots: [{ uri: `file:///${name}` }] }),
    elicit: ({ params }) => {
      if (params.url) received.urls.push(params.url);
      return params.url ? { action: "accept" } : { action: "accept", content: { name: "Ada" } };
    },
    updated: ({ params }) => received.updates.push(params.uri),
    logged: ({ params }) => received.logs.push(params),
    changed: () => {
      received.changes += 1;
    },
  };
}

/** The calls that are the same in both lines of the SDK. */
export function callsOf(client) {
  return {
    listTools: async () => (await client.listTools()).tools,
    listPrompts: async () => (await client.listPrompts()).prompts,
    getPrompt: async (name, args) => (await client.getPrompt({ name, arguments: args })).messages,
    listResources: async () => (await client.listResources()).resources,
    listTemplates: async () => (await client.listResourceTemplates()).resourceTemplates,
    readResource: async (uri) => (await client.readResource({ uri })).contents,
    complete: async (name, argument, value) => {
      const ref = { type: "ref/prompt", name };
      return (await client.complete({ ref, argument: { name: argument, value } })).completion.values;
    },
    // As a legacy client does it.
    log: async (args) => {
      await client.setLoggingLevel("info");
      await client.callTool({ name: "test__log", arguments: args });
    },
    subscribe: async (uri) => {
      await client.subscribeResource({ uri });
      return () => client.unsubscribeResource({ uri });
    },
    listenToTools: async () => () => {},
  };
}

/** The same observations with any SDK for TypeScript, whose calls `api` knows. */
export async function observe(api, received) {
  const call = (name, args = {}, options) => api.callTool(name, args, options);
  const text = (result) => result.content[0].text;

  await note("tools", async () => {
    const names = (await api.listTools()).map((tool) => tool.name);
    return ["test__echo", "time__get_current_time", "everything__echo", "fastmcp__add"].filter((name) =>
      names.includes(name),
    ).length;
  });
  await note("echo", async () => text(await call("test__echo", { message: "héllo ☀" })));
  await note("time", async () => {
    const now = JSON.parse(text(await call("time__get_current_time", { timezone: "Europe/Berlin" })));
    return now.timezone;
  });
  await note("structured", async () => (await call("fastmcp__weather", { city: "Bern" })).structuredContent);
  await note("image", async () => {
    const image = (await call("fastmcp__picture")).content[0];
    return [image.type, image.mimeType, Buffer.from(image.data, "base64").length > 50];
  });
  await note("links", async () => {
    const links = (await call("everything__get-resource-links", { count: 2 })).content;
    const link = links.find((block) => block.type === "resource_link");
    return (await api.readResource(link.uri)).length;
  });
  await note("tool error", async () => (await call("fastmcp__fails", { why: "no luck" })).isError);
  await note("protocol error", async () => {
    try {
      await call("test__fail", { code: -32050, message: "no luck", data: { why: "because" } });
      return "no error";
    } catch (error) {
      return [error.code, error.message.includes("no luck"), error.data?.why];
    }
  });
  await note("unknown tool", async () => {
    try {
      const result = await call("nowhere__echo");
      return result.isError ? "tool error" : "no error";
    } catch (error) {
      return error.code;
    }
  });
  await note("progress", async () => {
    const steps = [];
    await call("fastmcp__counts", { to: 5 }, { onprogress: (progress) => steps.push(progress.progress) });
    return steps;
  });
  await note("cancel", async () => {
    const controller = new AbortController();
    const sleeping = call("test__sleep", { ms: 60_000 }, { signal: controller.signal }).then(
      () => "a result",
      () => "cancelled",
    );
    setTimeout(() => controller.abort(), 200);
    const outcome = await sleeping;
    let ended = 0;
    for (let i = 0; i < 100 && !ended; i++) {
      const stats = JSON.parse(text(await call("test__stats")));
      // A modern client over HTTP closes the stream of the call, and sends no notification.
      ended = stats.cancelled + stats.interruptions.length;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return [outcome, ended > 0];
  });
  await note("prompts", async () => {
    const names = (await api.listPrompts()).map((prompt) => prompt.name);
    const filled = await api.getPrompt("test__greeting", { name: "Ada" });
    return [names.includes("everything__simple-prompt"), filled[0].content.text];
  });
  await note("resources", async () => {
    const uris = (await api.listResources()).map((resource) => resource.uri);
    return [uris.includes("testkit://readme"), (await api.readResource("testkit://readme"))[0].text];
  });
  await note("templates", async () => {
    const templates = (await api.listTemplates()).map((template) => template.uriTemplate);
    return [templates.includes("testkit://item/{number}"), (await api.readResource("testkit://item/7"))[0].text];
  });
  await note("completion", () => api.complete("test__review", "language", "r"));
  for (const what of api.answers) {
    await note(what, async () => JSON.parse(text(await call("test__ask", { what: [what] })))[what]);
  }
  if (api.answers.includes("elicitation")) {
    await note("elicitation with url", async () => {
      const args = { url: "https://example.com/consent", message: "Please" };
      const answered = text(await call("everything__trigger-url-elicitation", args));
      return [answered.includes("accept") || answered.includes("completed"), received.urls.at(-1)];
    });
  }
  await note("side by side", async () => {
    const messages = Array.from({ length: 20 }, (_, number) => `message ${number}`);
    const results = await Promise.all(messages.map((message) => call("test__echo", { message })));
    return results.every((result, number) => text(result) === messages[number]);
  });
  await note("logging", async () => {
    await api.log({ message: "logged" });
    await until(() => received.logs.some((log) => JSON.stringify(log.data).includes("logged")));
    return true;
  });
  await note("subscribe", async () => {
    const uri = "demo://resource/static/document/features.md";
    const leave = await api.subscribe(uri);
    await call("everything__toggle-subscriber-updates");
    await until(() => received.updates.length > 0);
    await call("everything__toggle-subscriber-updates");
    await leave();
    return received.updates[0] === uri;
  });
  await note("list changed", async () => {
    const leave = await api.listenToTools();
    const before = received.changes;
    await call("test__set_tools", { names: ["set_tools", "fresh"] });
    await until(() => received.changes > before);
    const names = (await api.listTools()).map((tool) => tool.name);
    await call("test__set_tools");
    await leave();
    return names.includes("test__fresh");
  });
}
