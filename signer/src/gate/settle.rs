//! What is judged by what lies in it: disks, FAT file systems, compressed files.

use super::{
    Gate, Unreadable,
    kind::{FAT, Kind},
    outcome::{ProblemKind, State},
};
use crate::format::Source as _;

impl Gate<'_> {
    /// Settles containers from the innermost to the outermost: what lies in one comes behind it.
    pub(super) fn settle_containers(&mut self) -> Result<(), Unreadable> {
        for index in (0..self.entries.len()).rev() {
            let open = |e: &&super::entry::Entry<'_>| e.is_open() && e.problems.is_empty();
            match self.entries.get(index).filter(open).map(|e| &e.kind) {
                Some(Kind::Disk(_)) => self.settle_disk(index)?,
                Some(Kind::FileSystem(FAT)) => self.settle_fat(index),
                Some(Kind::Compressed(..)) => self.settle_compressed(index),
                _ => {}
            }
        }
        // What these are the same as stands before them.
        for index in 0..self.entries.len() {
            self.settle_twin(index);
        }
        Ok(())
    }

    /// Whatever is on a FAT file system has to be signed or covered. What is not has its own problem, so that the policy can name
    /// that file instead of the whole.
    fn settle_fat(&mut self, index: usize) {
        let Some(enclosure) = self.enclosures.get(&index) else { return };
        if let Some(obstacle) = enclosure.obstacle.clone() {
            return self.not_opened(index, &obstacle);
        }
        if let Some(at) = enclosure.stray {
            let detail =
                format!("at byte {at} it holds something that is in no file, and nothing signed covers it");
            return self.problem(index, ProblemKind::CannotCheck, None, detail);
        }
        let mut all_good = true;
        for member in enclosure.members.clone() {
            let Some(entry) = self.entries.get_mut(member) else { continue };
            let good = entry.may_ship() || (entry.state == Some(State::Part) && entry.problems.is_empty());
            if good || entry.source.len_bytes() == 0 {
                continue;
            }
            all_good = false;
            if entry.problems.is_empty() && entry.state != Some(State::Part) {
                let detail = "lies on a file system that a device reads, and nothing signed covers it";
                entry.problem(ProblemKind::Unsigned, None, detail);
            }
        }
        let Some(entry) = self.entries.get_mut(index) else { return };
        if all_good {
            entry.settle(State::Covered, "every file on it is signed or covered");
        } else {
            entry.settle(State::Part, "judged by the files on it");
        }
    }

    fn settle_compressed(&mut self, index: usize) {
        let Some(enclosure) = self.enclosures.get(&index) else { return };
        if let Some(obstacle) = enclosure.obstacle.clone() {
            return self.not_opened(index, &obstacle);
        }
        let members = enclosure.members.clone();
        // At once, if that is known: the file system that it lies on is judged by it.
        let is_known = |twin: &super::entry::Entry<'_>| twin.state.is_some() || !twin.problems.is_empty();
        if enclosure.twin.and_then(|twin| self.entries.get(twin)).is_some_and(is_known) {
            return self.settle_twin(index);
        }
        for member in &members {
            let Some(held) = self.entries.get(*member) else { continue };
            let (good, path) = (held.may_ship(), held.path.clone());
            let Some(entry) = self.entries.get_mut(index) else { continue };
            if good {
                entry.covered(path, "what it holds is signed or covered");
            } else {
                entry.settle(State::Part, "judged by what it holds");
            }
        }
        if members.is_empty() && self.enclosures.get(&index).is_some_and(|e| e.twin.is_none()) {
            let detail = "not signed, and nothing signed covers it or what it holds";
            self.problem(index, ProblemKind::Unsigned, None, detail);
        }
    }

    fn settle_twin(&mut self, index: usize) {
        let Some(twin) = self.enclosures.get(&index).and_then(|e| e.twin) else { return };
        let Some(other) = self.entries.get(twin) else { return };
        let (good, state, path) = (other.may_ship(), other.state, other.path.clone());
        let harmless = other.problems.is_empty() && !other.kind.is_artifact();
        let Some(entry) = self.entries.get_mut(index).filter(|e| e.is_open() && e.problems.is_empty()) else {
            return;
        };
        entry.is_copy = true;
        if good {
            entry.covered(&path, format!("unpacked the same bytes as {path}"));
        } else if state == Some(State::Part) || harmless {
            entry.settle(State::Part, format!("unpacked the same bytes as {path}, which is judged"));
        } else {
            let detail = format!("unpacked the same bytes as {path}, which must not ship");
            entry.problem(ProblemKind::Unsigned, None, detail);
        }
    }
}
