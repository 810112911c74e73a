//! What a file system is mounted as, and over what.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::StatVfsMountFlags;

/// File systems of other hosts, by the numbers of `statfs`: nobody is told of a change there that another host makes,
/// and locks may not hold.
const NETWORK: [(u32, &str); 9] = [
    (0x0000_6969, "nfs"),
    (0x0000_517b, "smb"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "ceph"),
    (0x5346_414f, "afs"),
    (0x0bd0_0bd0, "lustre"),
    (0x4750_4653, "gpfs"),
];

/// The kind of network file system that this path lies on, if it lies on one.
pub fn network_file_system(path: &Path) -> Option<&'static str> {
    named(rustix::fs::statfs(path).ok()?.f_type as u32)
}

fn named(number: u32) -> Option<&'static str> {
    NETWORK.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// Whether nobody can write through this mount, whatever the modes of its files say.
pub(super) fn is_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// The same of an open file.
pub(super) fn is_read_only_at(file: impl AsFd) -> bool {
    rustix::fs::fstatvfs(file).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_directory_is_neither() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert!(!is_read_only(directory.path()));
        assert_eq!(network_file_system(&directory.path().join("not there")), None);
        assert_eq!((named(0x6969), named(0xef53)), (Some("nfs"), None));
    }
}
