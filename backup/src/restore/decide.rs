//! What is to be done with a path, by what the snapshot says, what is there, and what was asked for. Touches nothing.

use rustix::fs::{FileType, Stat};

use super::Overwrite;
use super::details::Details;
use crate::list::Choice;
use crate::tree::{FileTime, NodeKind};

/// What is there, without having opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Existing {
    pub(super) kind: FileType,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) mtime: FileTime,
    pub(super) links: u64,
    /// Of a device, its number.
    pub(super) number: u64,
}

impl Existing {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            kind: FileType::from_raw_mode(stat.st_mode),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime: FileTime {
                seconds: stat.st_mtime,
                nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
            links: stat.st_nlink,
            number: stat.st_rdev,
        }
    }

    /// In words, with an article.
    pub(super) const fn as_str(&self) -> &'static str {
        match self.kind {
            FileType::RegularFile => "a regular file",
            FileType::Directory => "a folder",
            FileType::Symlink => "a symbolic link",
            _ => "a device, a socket or a named pipe",
        }
    }
}

/// What is to be done with a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FolderStep {
    Make,
    Enter,
    /// Something else than a folder makes room for it.
    Replace,
    /// Nothing of it is restored, for something else is there.
    Refuse,
}

/// A folder that is only on the way to what was asked for replaces nothing: `/bin` may be a link for good reason.
pub(super) fn for_folder(existing: Option<&Existing>, choice: Choice, overwrite: Overwrite) -> FolderStep {
    match existing {
        None => FolderStep::Make,
        Some(existing) if existing.kind == FileType::Directory => FolderStep::Enter,
        Some(_) if choice != Choice::Chosen || overwrite == Overwrite::Never => FolderStep::Refuse,
        Some(_) => FolderStep::Replace,
    }
}

/// What is to be done with what is no folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryStep {
    Make,
    Keep,
    /// By its details it is right; its content is to be looked at.
    Check,
    Replace,
    /// A folder is there: it makes room when it is empty, or when what is extra is to be removed.
    ReplaceFolder,
}

/// What the snapshot says of an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) kind: NodeKind,
    pub(super) details: &'a Details,
    pub(super) size: u64,
    pub(super) links: u64,
    pub(super) number: u64,
    /// Whether owners are set.
    pub(super) owner: bool,
}

pub(super) fn for_entry(existing: Option<&Existing>, wanted: &Wanted<'_>, overwrite: Overwrite) -> EntryStep {
    let Some(existing) = existing else { return EntryStep::Make };
    match overwrite {
        Overwrite::Never => EntryStep::Keep,
        _ if existing.kind == FileType::Directory => EntryStep::ReplaceFolder,
        Overwrite::IfChanged if looks_right(existing, wanted) => EntryStep::Check,
        Overwrite::IfChanged | Overwrite::Always => EntryStep::Replace,
    }
}

/// The type of the file system that stands for a kind; none for what is not restored.
pub(super) const fn type_of(kind: NodeKind) -> Option<FileType> {
    match kind {
        NodeKind::File => Some(FileType::RegularFile),
        NodeKind::Directory => Some(FileType::Directory),
        NodeKind::Symlink => Some(FileType::Symlink),
        NodeKind::BlockDevice => Some(FileType::BlockDevice),
        NodeKind::CharacterDevice => Some(FileType::CharacterDevice),
        NodeKind::Fifo => Some(FileType::Fifo),
        NodeKind::Socket | NodeKind::Irregular => None,
    }
}

fn looks_right(existing: &Existing, wanted: &Wanted<'_>) -> bool {
    let details = wanted.details;
    let has_mode = wanted.kind == NodeKind::Symlink || existing.mode == details.mode;
    let has_owner = !wanted.owner || (existing.uid, existing.gid) == (details.uid, details.gid);
    let of_kind = match wanted.kind {
        NodeKind::File => existing.size == wanted.size,
        NodeKind::BlockDevice | NodeKind::CharacterDevice => existing.number == wanted.number,
        _ => true,
    };
    // A further name that the snapshot does not know would share every later change.
    let has_names = existing.links == 1 || wanted.links > 1;
    type_of(wanted.kind) == Some(existing.kind)
        && has_mode
        && has_owner
        && of_kind
        && has_names
        && existing.mtime == details.mtime
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Existing {
        let mtime = FileTime { seconds: 7, nanoseconds: 8 };
        Existing {
            kind: FileType::RegularFile,
            mode: 0o644,
            uid: 1,
            gid: 2,
            size: 5,
            mtime,
            links: 1,
            number: 0,
        }
    }

    fn details() -> Details {
        let mtime = FileTime { seconds: 7, nanoseconds: 8 };
        Details {
            mode: 0o644,
            uid: 1,
            gid: 2,
            mtime,
            atime: mtime,
            attributes: Box::default(),
            lost_set_id: false,
        }
    }

    fn step(
        existing: Option<Existing>,
        change: impl FnOnce(&mut Wanted<'_>),
        overwrite: Overwrite,
    ) -> EntryStep {
        let details = details();
        let mut wanted =
            Wanted { kind: NodeKind::File, details: &details, size: 5, links: 1, number: 0, owner: true };
        change(&mut wanted);
        for_entry(existing.as_ref(), &wanted, overwrite)
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_there_is_treated_as_asked() {
        for overwrite in [Overwrite::Always, Overwrite::IfChanged, Overwrite::Never] {
            assert_eq!(step(None, |_| {}, overwrite), EntryStep::Make);
        }
        assert_eq!(step(Some(file()), |_| {}, Overwrite::Always), EntryStep::Replace);
        assert_eq!(step(Some(file()), |_| {}, Overwrite::IfChanged), EntryStep::Check);
        assert_eq!(step(Some(file()), |_| {}, Overwrite::Never), EntryStep::Keep);
        let folder = Existing { kind: FileType::Directory, ..file() };
        assert_eq!(step(Some(folder), |_| {}, Overwrite::Always), EntryStep::ReplaceFolder);
        assert_eq!(step(Some(folder), |_| {}, Overwrite::Never), EntryStep::Keep);
    }

    #[test]
    fn any_detail_that_differs_makes_a_file_changed() {
        let later = FileTime { seconds: 7, nanoseconds: 9 };
        let others = [
            Existing { kind: FileType::Symlink, ..file() },
            Existing { mode: 0o4644, ..file() },
            Existing { uid: 9, ..file() },
            Existing { gid: 9, ..file() },
            Existing { size: 6, ..file() },
            Existing { mtime: later, ..file() },
            Existing { links: 2, ..file() },
        ];
        for other in others {
            assert_eq!(step(Some(other), |_| {}, Overwrite::IfChanged), EntryStep::Replace, "{other:?}");
        }
        let foreign = Existing { uid: 9, gid: 9, ..file() };
        assert_eq!(
            step(Some(foreign), |wanted| wanted.owner = false, Overwrite::IfChanged),
            EntryStep::Check
        );
        let linked = Existing { links: 2, ..file() };
        assert_eq!(step(Some(linked), |wanted| wanted.links = 2, Overwrite::IfChanged), EntryStep::Check);
        let device = Existing { kind: FileType::BlockDevice, number: 3, ..file() };
        let as_device = |number| {
            move |wanted: &mut Wanted<'_>| {
                wanted.kind = NodeKind::BlockDevice;
                wanted.number = number;
            }
        };
        assert_eq!(step(Some(device), as_device(3), Overwrite::IfChanged), EntryStep::Check);
        assert_eq!(step(Some(device), as_device(4), Overwrite::IfChanged), EntryStep::Replace);
    }

    #[test]
    fn a_folder_takes_the_place_of_something_else_only_when_it_was_asked_for() {
        let link = Existing { kind: FileType::Symlink, ..file() };
        let folder = Existing { kind: FileType::Directory, ..file() };
        for overwrite in [Overwrite::Always, Overwrite::IfChanged, Overwrite::Never] {
            assert_eq!(for_folder(None, Choice::OnTheWay, overwrite), FolderStep::Make);
            assert_eq!(for_folder(Some(&folder), Choice::OnTheWay, overwrite), FolderStep::Enter);
            assert_eq!(for_folder(Some(&link), Choice::OnTheWay, overwrite), FolderStep::Refuse);
        }
        assert_eq!(for_folder(Some(&link), Choice::Chosen, Overwrite::IfChanged), FolderStep::Replace);
        assert_eq!(for_folder(Some(&link), Choice::Chosen, Overwrite::Never), FolderStep::Refuse);
    }
}
