//! What the kernel counts of this process.

/// Resident memory in KiB. Pages are 4 KiB wherever this file is.
pub fn resident_kib() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("memory is read on Linux");
    let resident = (pages.split(' ').nth(1)).and_then(|pages| pages.parse::<f64>().ok());
    resident.expect("the second field is the resident size") * 4.0
}

/// Has the kernel forget the most that was resident until now.
pub fn reset_peak() {
    std::fs::write("/proc/self/clear_refs", "5").expect("memory is read on Linux");
}

/// The most memory that was resident since then, in KiB.
pub fn peak_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("memory is read on Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.trim().strip_suffix("kB")?.trim().parse().ok());
    peak.expect("the kernel reports the peak")
}
