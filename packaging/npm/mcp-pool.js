#!/usr/bin/env node
// Starts the program of this platform, which npm installs as an optional dependency.
"use strict";

const { spawn } = require("node:child_process");
const { constants } = require("node:os");

const name = `@mcp-pool/${process.platform}-${process.arch}`;
let program;
try {
  program = require.resolve(`${name}/bin/mcp-pool`);
} catch {
  console.error(`error: ${name} is not installed: there is no mcp-pool for this platform, or npm left optional dependencies out`);
  console.error("Fix: npm install --include=optional mcp-pool, or cargo install mcp-pool-cli");
  process.exit(2);
}

if (process.execve) {
  // The program takes the place of node.
  process.execve(program, [program, ...process.argv.slice(2)], process.env);
}

const child = spawn(program, process.argv.slice(2), { stdio: "inherit" });
// What ends this ends the program; a terminal sends Ctrl-C to both.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => signal === "SIGINT" || child.kill(signal));
}
child.on("error", (error) => {
  console.error(`error: ${program}: ${error.message}`);
  process.exit(2);
});
child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
