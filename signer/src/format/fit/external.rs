//! External data: what moves when the tree or an image grows.

use super::{
    FitError, Problem,
    image::{Data, Fit, Place},
    properties as p,
    stage_trust::EditedTree,
};
use crate::format::{
    Edit,
    fdt::{NodeId, Tail, align_up},
};
use std::collections::BTreeMap;

/// Largest alignment that is kept when external data moves, in bytes.
const MAX_ALIGNMENT: u64 = 4096;

/// Where all images' data is.
pub(super) type Places = BTreeMap<NodeId, Data>;

impl Fit<'_> {
    /// Images may have the same data, but no honest tool makes them share a part of it; and hashing
    /// many long overlapping ranges takes arbitrarily long.
    pub(super) fn check_overlap(&self, places: &Places) -> Result<(), FitError> {
        let mut all: Vec<(u64, u64, NodeId)> = places
            .iter()
            .filter(|(_, data)| data.place != Place::Embedded && !data.range.is_empty())
            .map(|(id, data)| (data.range.start, data.range.end, *id))
            .collect();
        all.sort_unstable();
        all.dedup_by_key(|(start, end, _)| (*start, *end));
        for ((_, end, _), (start, _, id)) in all.iter().zip(all.iter().skip(1)) {
            if start < end {
                return Err(self.problem(*id, Problem::Overlap));
            }
        }
        Ok(())
    }

    /// That no other image has the external data of `image`, which is to change.
    pub(super) fn check_unshared(&self, image: NodeId, places: &Places) -> Result<(), FitError> {
        let Some(data) = places.get(&image).filter(|data| data.place != Place::Embedded) else {
            return Ok(());
        };
        let shared = places.iter().any(|(other, d)| {
            *other != image
                && d.place != Place::Embedded
                && d.range.start < data.range.end
                && data.range.start < d.range.end
        });
        if shared { Err(self.problem(image, Problem::SharedData)) } else { Ok(()) }
    }

    /// What becomes of external data when the tree grows.
    pub(super) fn tail(&self, places: &Places) -> Tail {
        let fixed = places.values().filter(|d| d.place == Place::Position).map(|d| d.range.start).min();
        let moves = places.values().any(|d| d.place == Place::Offset);
        match fixed {
            // Both kinds in one FIT: the tree must stay as large as it is.
            Some(_) if moves => Tail::Stays { free_until: self.fdt.total_size() },
            Some(free_until) => Tail::Stays { free_until },
            None => Tail::Moves { alignment: self.alignment(places) },
        }
    }

    /// The alignment that all external data has, as far as it is known.
    fn alignment(&self, places: &Places) -> u64 {
        let starts = places.values().filter(|d| d.place != Place::Embedded).map(|d| d.range.start);
        match starts.reduce(|all, start| all | start) {
            None => 4,
            Some(all) => (1 << (all | MAX_ALIGNMENT | self.data_base()).trailing_zeros()).max(4),
        }
    }

    /// Puts changed device trees where the old ones were. External data behind one that grew moves.
    pub(super) fn replace_data(
        &mut self,
        edited: &[EditedTree],
        places: &Places,
    ) -> Result<Vec<Edit>, FitError> {
        let mut edits = Vec::new();
        let mut external: Vec<(&EditedTree, &Data)> = Vec::new();
        for tree in edited {
            match places.get(&tree.image) {
                Some(data) if data.place != Place::Embedded => external.push((tree, data)),
                _ => self.fdt.set(tree.image, p::DATA, tree.new.clone())?,
            }
        }
        external.sort_by_key(|(_, data)| data.range.start);
        let mut moved: BTreeMap<NodeId, u64> = BTreeMap::new();
        for (tree, data) in external {
            let size = u32::try_from(tree.new.len()).unwrap_or(u32::MAX);
            self.fdt.set_u32(tree.image, p::DATA_SIZE, size)?;
            let others = || places.iter().filter(|(id, _)| **id != tree.image).map(|(id, d)| (*id, d));
            let behind: Vec<(NodeId, &Data)> = others()
                .filter(|(_, d)| d.place != Place::Embedded && d.range.start >= data.range.end)
                .collect();
            let next = behind.iter().map(|(_, d)| d.range.start).min();
            let start = data.range.start;
            let new_end = start + tree.new.len() as u64;
            let free = self.free_until(data.range.end, next.unwrap_or(self.fdt.source().len_bytes()))?;
            let mut bytes = tree.new.clone();
            let fill = |bytes: &mut Vec<u8>, len: u64| bytes.resize(usize::try_from(len).unwrap_or(0), 0);
            if new_end <= free {
                let end = new_end.max(data.range.end);
                fill(&mut bytes, end - start);
                edits.push(Edit { range: start..end, bytes });
                continue;
            }
            let delta = align_up(new_end - free, self.alignment(places));
            if next.is_some() {
                if behind.iter().any(|(_, d)| d.place == Place::Position) || data.place == Place::Position {
                    return Err(self.problem(tree.image, Problem::NoRoom));
                }
                fill(&mut bytes, free - start + delta);
            }
            edits.push(Edit { range: start..free, bytes });
            for (id, _) in behind {
                *moved.entry(id).or_default() += delta;
            }
        }
        for (id, delta) in moved {
            let old = u64::from(self.fdt.u32(id, p::DATA_OFFSET)?.unwrap_or_default());
            let new = u32::try_from(old + delta).ok().filter(|new| *new <= u32::MAX >> 1);
            let new = new.ok_or_else(|| self.problem(id, Problem::BadNumber(p::DATA_OFFSET)))?;
            self.fdt.set_u32(id, p::DATA_OFFSET, new)?;
        }
        Ok(edits)
    }

    /// How far beyond `end` data may grow, at most to `limit`: over zeros, which are padding.
    fn free_until(&self, end: u64, limit: u64) -> Result<u64, FitError> {
        const LOOK_AHEAD_LEN_BYTES: u64 = 64 << 10;
        let limit = limit.min(end + LOOK_AHEAD_LEN_BYTES).max(end);
        let gap = self.fdt.source().read_range(end..limit, 64 << 10)?;
        Ok(end + gap.iter().take_while(|b| **b == 0).count() as u64)
    }
}
