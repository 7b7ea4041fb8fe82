# `just` runs the gate, `just step lints tests` these steps of it. All of it is `.ci/run`, which works without `just`.

[private]
default:
    @.ci/run

# Steps of the gate by name: `just step lints tests`
step *names:
    @.ci/run {{ names }}

# The steps that there are
steps:
    @.ci/run --list

# What to run before a commit
check:
    @.ci/run format pains lints docs

# Everything that needs no other software
test:
    cargo test --workspace

# Writes the documents that are made from the code
update:
    UPDATE_DOCS=1 cargo test -p mcp-config --test it docs
    UPDATE_DOCS=1 cargo test -p mcp-metrics --test it docs
    UPDATE_DOCS=1 .ci/pains
    UPDATE_API=1 .ci/run docs api
