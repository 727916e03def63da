//! How much memory this machine, or the container that it runs in, has.

use std::path::Path;

/// The share of it that entries may take where the settings do not say: a fifth.
const SHARE: u64 = 5;

/// What is assumed where the system says nothing of its memory.
const ASSUMED: u64 = 1 << 30;

/// The deepest nesting of control groups that is looked at.
const DEPTH_MAX: usize = 32;

/// The memory for entries in bytes, where 0 was given for 20 % of what there is.
pub(super) fn region_bytes(given: u64) -> u64 {
    if given > 0 {
        return given;
    }
    let available = available(Path::new("/")).unwrap_or_else(|| {
        tracing::warn!("the system does not say how much memory it has; 1 GiB is assumed");
        ASSUMED
    });
    available / SHARE
}

/// The memory of this process: that of its machine, or less where a control group limits it.
/// `root` is `/` but in tests.
fn available(root: &Path) -> Option<u64> {
    let machine = machine(root);
    let container = container(root);
    match (machine, container) {
        (Some(machine), Some(container)) => Some(machine.min(container)),
        (machine, container) => machine.or(container),
    }
}

fn machine(root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The least limit of the control groups of this process, in either version of them.
fn container(root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let groups = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
        let (folder, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // Inside of a container the path may be that of the host: then only the top exists.
        let groups = Path::new(group.trim_start_matches('/')).ancestors();
        groups
            .take(DEPTH_MAX)
            .filter_map(|group| limit(&root.join(folder).join(group).join(file)))
            .min()
    });
    groups.min()
}

/// A limit that was set; "max", and the greatest number of the older version, say that there is
/// none.
fn limit(file: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let bytes: u64 = text.trim().parse().ok()?;
    (0 < bytes && bytes < 1 << 62).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system with these files.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:  1048576 kB\nMemFree: 5 kB\n");

    #[test]
    fn the_smaller_of_machine_and_container_counts() {
        let memory = |files: &[(&str, &str)]| available(system(files).path());
        let one = "sys/fs/cgroup/memory/a/memory.limit_in_bytes";
        let two = "sys/fs/cgroup/a/b/memory.max";
        let group_one = ("proc/self/cgroup", "3:cpu:/x\n4:hugetlb,memory:/a/gone\n");
        let group_two = ("proc/self/cgroup", "0::/a/b\n");
        assert_eq!(memory(&[]), None);
        assert_eq!(memory(&[MACHINE]), Some(1 << 30));
        assert_eq!(memory(&[MACHINE, group_one, (one, "4096\n")]), Some(4096));
        assert_eq!(
            memory(&[MACHINE, group_one, (one, "9223372036854771712\n")]),
            Some(1 << 30)
        );
        assert_eq!(memory(&[MACHINE, group_two, (two, "max\n")]), Some(1 << 30));
        assert_eq!(memory(&[MACHINE, group_two, (two, "8192\n")]), Some(8192));
        let parent = ("sys/fs/cgroup/a/memory.max", "4096\n");
        assert_eq!(memory(&[group_two, (two, "8192"), parent]), Some(4096));
        let top = ("sys/fs/cgroup/memory.max", "512");
        let elsewhere = ("proc/self/cgroup", "0::/../other\n");
        assert_eq!(memory(&[MACHINE, elsewhere, top]), Some(512));
    }

    #[test]
    fn what_is_given_counts_and_zero_is_a_fifth() {
        assert_eq!(region_bytes(4096), 4096);
        let fifth = region_bytes(0);
        assert!(fifth > 0);
        if let Some(available) = available(Path::new("/")) {
            assert_eq!(fifth, available / 5);
        }
    }
}
