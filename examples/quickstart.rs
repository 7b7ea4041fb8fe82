//! Shows what reuse saves.

fn main() {}
