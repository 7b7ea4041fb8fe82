//! The machine in words, without anything by which it could be found.

use std::{fs, process::Command};

pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let rustc = first_words("rustc", &["--version"], 2);
    let kernel = first_words("uname", &["-sr"], 2);
    // What follows the version names who built it, and for what.
    let kernel = kernel.split('-').next().unwrap_or_default();
    let memory = memory_gib().map_or(String::new(), |gib| format!(", {gib:.0} GiB of memory"));
    format!(
        "{cores} cores ({}){memory}, {kernel}, {rustc}, {}",
        processor(),
        std::env::consts::ARCH
    )
}

fn first_words(program: &str, arguments: &[&str], words: usize) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_else(|_| format!("{program} unknown"));
    text.split_whitespace()
        .take(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or("processor unknown".into(), |(_, name)| {
        name.trim().to_owned()
    })
}

fn memory_gib() -> Option<f64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let total = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: f64 = total.split_whitespace().next()?.parse().ok()?;
    Some(kib / (1024.0 * 1024.0))
}
