//! What is left of a process group.

use rustix::process::Pid;

/// Whether nothing in the group runs any more, though the kernel still knows it.
///
/// Grandchildren are inherited by process 1 when their parent ends, and in many containers that is a program which
/// does not collect its dead. To wait for those would hold up every closing.
#[cfg(target_os = "linux")]
pub(super) fn only_zombies(group: Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return false;
    };
    let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    !processes
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_number(name))
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .any(|stat| runs_in(&stat, group).unwrap_or(false))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn only_zombies(_: Pid) -> bool {
    false
}

/// Reads `pid (name) state parent group ...`; the name may hold anything, parentheses too.
#[cfg(target_os = "linux")]
fn runs_in(stat: &str, group: Pid) -> Option<bool> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let in_group = fields.nth(1)?.parse() == Ok(group.as_raw_nonzero().get());
    Some(in_group && !matches!(state, "Z" | "X"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_dead_do_not_count() {
        let group = Pid::from_raw(7).unwrap();
        assert_eq!(runs_in("9 (a (b) c) S 1 7 7 0", group), Some(true));
        assert_eq!(runs_in("9 (a (b) c) Z 1 7 7 0", group), Some(false));
        assert_eq!(runs_in("9 (a (b) c) S 1 8 7 0", group), Some(false));
        assert_eq!(runs_in("", group), None);
    }

    #[test]
    fn this_very_process_runs() {
        assert!(!only_zombies(rustix::process::getpgrp()));
    }
}
