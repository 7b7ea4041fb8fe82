//! Living members of a process group.

use rustix::process::Pid;

/// The processes of the group that run. A zombie does not.
///
/// Grandchildren are inherited by process 1 when their parent ends, and in many containers that is a program which
/// does not collect its dead: the kernel still knows their group. To wait for those would hold up every closing.
///
/// Reads a file for every process of the machine: not for a worker of the runtime.
#[cfg(target_os = "linux")]
pub(super) fn members(group: Pid) -> Vec<Pid> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| runs_in(&stat, group).unwrap_or(false))
        })
        .filter_map(Pid::from_raw)
        .collect()
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
        let own = rustix::process::getpid();
        assert!(members(rustix::process::getpgrp()).contains(&own));
    }
}
