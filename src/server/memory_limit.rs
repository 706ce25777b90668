//! How much memory the process may use, as its control groups say (cgroups(7)).
//!
//! Limits nest: a group's memory counts for all groups around it, so the least limit on the way up holds. A container
//! may see its own group as the root, or the whole way from the machine's; walking up finds the limit in both.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// What version 1 says where there is no limit is the largest whole page, so whatever is near it is none.
const NO_LIMIT: u64 = 1 << 60;

/// The least limit of the groups of this process, in bytes, if any has one. `root` is `/`, or stands for it.
pub(super) fn memory_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let files = groups.lines().flat_map(limit_files);
    files.filter_map(|file| limit(&fs::read_to_string(root.join(file)).ok()?)).min()
}

/// The files below the root that may limit the memory of a group and of those around it. The line is one of
/// `/proc/self/cgroup`: `0::/a/b` for version 2, `4:memory:/a/b` for the memory of version 1.
fn limit_files(line: &str) -> Vec<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { return Vec::new() };
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    // A group outside of the namespace of this process has dots in front.
    let group: PathBuf =
        Path::new(group).components().filter(|part| matches!(part, Component::Normal(_))).collect();
    group.ancestors().map(|group| Path::new(mount).join(group).join(file)).collect()
}

/// The limit that a file states. Version 2 says `max` where there is none.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < NO_LIMIT)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const GIB: u64 = 1 << 30;

    /// The limit that is found below a root with these files.
    fn found(files: &[(&str, &str)]) -> Option<u64> {
        let root = TempDir::new().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        memory_limit(root.path())
    }

    #[test]
    fn a_container_sees_its_group_as_the_root() {
        let files = [("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "1073741824\n")];
        assert_eq!(found(&files), Some(GIB));
    }

    #[test]
    fn the_least_limit_on_the_way_up_holds() {
        let groups = ("proc/self/cgroup", "0::/system.slice/authz.service\n");
        let service = "sys/fs/cgroup/system.slice/authz.service/memory.max";
        let slice = "sys/fs/cgroup/system.slice/memory.max";
        assert_eq!(found(&[groups, (service, "max\n"), (slice, "1073741824\n")]), Some(GIB));
        assert_eq!(found(&[groups, (service, "4096\n"), (slice, "1073741824\n")]), Some(4_096));
        assert_eq!(found(&[groups, (service, "1073741824\n"), (slice, "4096\n")]), Some(4_096));
    }

    #[test]
    fn a_group_that_is_not_mounted_here_leaves_the_root_of_those_that_are() {
        let limit = ("sys/fs/cgroup/memory.max", "1073741824\n");
        assert_eq!(found(&[("proc/self/cgroup", "0::/kubepods/pod1/c1\n"), limit]), Some(GIB));
        assert_eq!(found(&[("proc/self/cgroup", "0::/../../c1\n"), limit]), Some(GIB));
    }

    #[test]
    fn version_1_tells_it_of_the_memory_controller() {
        let groups = ("proc/self/cgroup", "5:cpu,cpuacct:/docker/x\n4:memory,hugetlb:/docker/x\n0::/\n");
        let limit = "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes";
        assert_eq!(found(&[groups, (limit, "1073741824\n")]), Some(GIB));
        assert_eq!(found(&[groups, ("sys/fs/cgroup/cpu,cpuacct/docker/x/memory.max", "1\n")]), None);
    }

    #[test]
    fn no_limit_is_none() {
        assert_eq!(found(&[]), None);
        let groups = ("proc/self/cgroup", "4:memory:/\n0::/\n");
        let unlimited = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(found(&[groups, unlimited, ("sys/fs/cgroup/memory.max", "max\n")]), None);
    }

    #[test]
    fn what_is_not_understood_is_none() {
        for line in ["", "0", "0:", "x\n", "0::", "1:memory", "\u{0}"] {
            assert_eq!(found(&[("proc/self/cgroup", line)]), None, "{line:?}");
        }
        for text in ["", "-1", "1e9", "1 GiB"] {
            assert_eq!(found(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", text)]), None);
        }
    }
}
