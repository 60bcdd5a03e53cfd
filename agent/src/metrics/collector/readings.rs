//! The series of this agent and the readings of the round in hand.
//!
//! A series keeps its place once it has one: what vanishes (a disk, an interface) has no reading, what is new
//! goes to the end, and the schema stays one allocation as long as nothing is new. Places of what has long been
//! gone are taken back by starting over: every collector forgets its places and asks for new ones.

use std::sync::Arc;

use campanile_common::sample::{
    SCHEMA_BYTES_MAX, SERIES_LABELS_MAX, SERIES_MAX, Scale, Schema, Series, SeriesKind, TEXT_BYTES_MAX,
};

/// Rounds between two looks for series that are gone.
const LOOK_ROUNDS: u32 = 60;
/// Rounds without a reading after which a series counts as gone.
const GONE_ROUNDS: u32 = 600;
/// Gone series worth a new schema; fewer cost less than telling it.
const GONE_SERIES_MIN: usize = 64;

/// Owner of the sampler's own series, which are never gone: it claims their places each round.
pub const OWNER_SAMPLER: usize = usize::MAX;

/// What a series is, without its labels.
#[derive(Debug)]
pub struct Family {
    /// Metric name.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: SeriesKind,
    /// Unit of the reading against the exposed unit.
    pub scale: Scale,
}

impl Family {
    /// A family of counters.
    pub const fn counter(name: &'static str, scale: Scale) -> Self {
        Self { name, kind: SeriesKind::Counter, scale }
    }

    /// A family of gauges.
    pub const fn gauge(name: &'static str, scale: Scale) -> Self {
        Self { name, kind: SeriesKind::Gauge, scale }
    }
}

/// The place of a block of series that were added together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(usize);

#[derive(Debug)]
struct Block {
    first: usize,
    length: usize,
    owner: usize,
    /// Round of the latest reading, or of its making.
    touched: u32,
}

/// All series and this round's readings.
#[derive(Debug, Default)]
pub struct Readings {
    schema: Schema,
    /// Bytes of its texts.
    schema_bytes: usize,
    blocks: Vec<Block>,
    values: Vec<Option<i64>>,
    owner: usize,
    round: u32,
    dropped: usize,
}

impl Readings {
    /// Begins a round without any readings. True when all places were taken back; collectors must forget theirs.
    #[must_use]
    pub fn begin(&mut self) -> bool {
        self.round += 1;
        let starts_over = self.round.is_multiple_of(LOOK_ROUNDS) && self.has_gone_series();
        if starts_over {
            self.schema = Schema::default();
            self.schema_bytes = 0;
            self.blocks.clear();
        }
        self.dropped = 0;
        self.values = vec![None; self.schema.len()];
        starts_over
    }

    /// Series added from here on belong to this collector.
    pub fn enter(&mut self, owner: usize) {
        self.owner = owner;
    }

    /// Takes back what a collector has read this round.
    pub fn discard(&mut self, owner: usize) {
        for block in self.blocks.iter().filter(|block| block.owner == owner) {
            self.values[block.first..block.first + block.length].fill(None);
        }
    }

    /// Adds one series per family, all with these labels (in order of their names). None when they do not fit the
    /// limits; they then count as dropped this round.
    pub fn add(&mut self, families: &[Family], labels: &[(&str, &str)]) -> Option<Slot> {
        let first = self.schema.len();
        let is_short = |text: &str| text.len() <= TEXT_BYTES_MAX;
        let fits = first + families.len() <= SERIES_MAX
            && labels.len() <= SERIES_LABELS_MAX
            && labels.iter().all(|(name, value)| is_short(name) && is_short(value));
        let label_bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes: usize = families.iter().map(|family| family.name.len() + label_bytes).sum();
        if !fits || self.schema_bytes + bytes > SCHEMA_BYTES_MAX {
            self.drop_series(families.len());
            return None;
        }
        self.schema_bytes += bytes;
        let schema = Arc::make_mut(&mut self.schema);
        schema.extend(families.iter().map(|family| Series {
            name: family.name.to_owned(),
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            kind: family.kind,
            scale: family.scale,
        }));
        self.values.resize(schema.len(), None);
        let block = Block { first, length: families.len(), owner: self.owner, touched: self.round };
        self.blocks.push(block);
        Some(Slot(self.blocks.len() - 1))
    }

    /// Gives the reading of the `index`th series of a block.
    pub fn set(&mut self, slot: Slot, index: usize, reading: i64) {
        let Some(block) = self.blocks.get_mut(slot.0).filter(|block| index < block.length) else { return };
        block.touched = self.round;
        self.values[block.first + index] = Some(reading);
    }

    /// Counts series that a limit keeps out this round.
    pub fn drop_series(&mut self, count: usize) {
        self.dropped += count;
    }

    /// Series that limits kept out this round.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Series that have a place.
    pub fn series(&self) -> usize {
        self.schema.len()
    }

    /// Ends the round.
    pub fn take(&mut self) -> (Schema, Vec<Option<i64>>) {
        (Arc::clone(&self.schema), std::mem::take(&mut self.values))
    }

    /// Where places are short, a minute without a reading is enough to lose one.
    fn has_gone_series(&self) -> bool {
        let (rounds, enough) =
            if self.dropped > 0 { (LOOK_ROUNDS, 1) } else { (GONE_ROUNDS, GONE_SERIES_MIN) };
        let is_gone = |block: &&Block| block.owner != OWNER_SAMPLER && self.round - block.touched >= rounds;
        let gone = self.blocks.iter().filter(is_gone);
        gone.map(|block| block.length).sum::<usize>() >= enough
    }
}

/// Series that a machine has once, each added when its first reading comes.
#[derive(Debug)]
pub struct Scalars {
    families: &'static [Family],
    slots: Vec<Option<Slot>>,
}

impl Scalars {
    /// None added yet.
    pub fn new(families: &'static [Family]) -> Self {
        Self { families, slots: vec![None; families.len()] }
    }

    /// Gives the reading of the `index`th family.
    pub fn set(&mut self, readings: &mut Readings, index: usize, reading: i64) {
        let family = &self.families[index..=index];
        let slot = &mut self.slots[index];
        if slot.is_none() {
            *slot = readings.add(family, &[]);
        }
        if let Some(slot) = slot {
            readings.set(*slot, 0, reading);
        }
    }

    /// Gives the reading where there is one.
    pub fn set_some(&mut self, readings: &mut Readings, index: usize, reading: Option<i64>) {
        if let Some(reading) = reading {
            self.set(readings, index, reading);
        }
    }

    /// Gives up all places.
    pub fn forget(&mut self) {
        self.slots.fill(None);
    }
}

/// Things that a machine has several of (disks, interfaces), each with one block of series.
#[derive(Debug)]
pub struct Devices {
    families: &'static [Family],
    entries: Vec<(Box<str>, Slot)>,
    /// The next line is mostly about the device after the last one.
    cursor: usize,
    max: usize,
}

impl Devices {
    /// None yet; more than `max` are dropped and counted.
    pub fn new(families: &'static [Family], max: usize) -> Self {
        Self { families, entries: Vec::new(), cursor: 0, max }
    }

    /// The block of the device with this key, added with the labels that `labels` gives it where it is new.
    pub fn slot<'k>(
        &mut self,
        readings: &mut Readings,
        key: &'k str,
        labels: impl FnOnce(&'k str) -> Vec<(&'k str, &'k str)>,
    ) -> Option<Slot> {
        let at = |entries: &[(Box<str>, Slot)], index: usize| {
            entries.get(index).filter(|(name, _)| **name == *key).map(|(_, slot)| (index, *slot))
        };
        let found = at(&self.entries, self.cursor)
            .or_else(|| (0..self.entries.len()).find_map(|index| at(&self.entries, index)));
        if let Some((index, slot)) = found {
            self.cursor = index + 1;
            return Some(slot);
        }
        if self.entries.len() >= self.max {
            readings.drop_series(self.families.len());
            return None;
        }
        let slot = readings.add(self.families, &labels(key))?;
        self.entries.push((key.into(), slot));
        self.cursor = self.entries.len();
        Some(slot)
    }

    /// The next lookup begins with the first device.
    pub fn rewind(&mut self) {
        self.cursor = 0;
    }

    /// Gives up all places.
    pub fn forget(&mut self) {
        self.entries.clear();
        self.cursor = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FAMILIES: &[Family] =
        &[Family::gauge("node_a", Scale::ONE), Family::counter("node_b", Scale::Over(100))];

    fn device(name: &str) -> Vec<(&str, &str)> {
        vec![("device", name)]
    }

    fn round(readings: &mut Readings, devices: &mut Devices, names: &[&str]) -> (Schema, Vec<Option<i64>>) {
        if readings.begin() {
            devices.forget();
        }
        devices.rewind();
        for name in names {
            if let Some(slot) = devices.slot(readings, name, device) {
                readings.set(slot, 1, 7);
            }
        }
        readings.take()
    }

    #[test]
    fn a_vanished_device_is_absent_and_a_new_one_goes_to_the_end() {
        let (mut readings, mut devices) = (Readings::default(), Devices::new(FAMILIES, 9));
        let (first, values) = round(&mut readings, &mut devices, &["sda", "sdb"]);
        assert_eq!(values, [None, Some(7), None, Some(7)]);
        let (second, values) = round(&mut readings, &mut devices, &["sdb"]);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(values, [None, None, None, Some(7)]);
        let (third, values) = round(&mut readings, &mut devices, &["sdc", "sdb"]);
        assert_eq!(third[..4], second[..]);
        assert_eq!(third[4].label("device"), Some("sdc"));
        assert_eq!(values, [None, None, None, Some(7), None, Some(7)]);
    }

    #[test]
    fn devices_past_the_limit_are_dropped_and_counted() {
        let (mut readings, mut devices) = (Readings::default(), Devices::new(FAMILIES, 1));
        let (schema, _) = round(&mut readings, &mut devices, &["sda", "sdb", "sdc"]);
        assert_eq!((schema.len(), readings.dropped()), (2, 4));
    }

    #[test]
    fn a_dropped_device_gets_the_place_of_one_that_is_gone() {
        let (mut readings, mut devices) = (Readings::default(), Devices::new(FAMILIES, 1));
        let _ = round(&mut readings, &mut devices, &["old"]);
        for _ in 0..2 * LOOK_ROUNDS {
            let _ = round(&mut readings, &mut devices, &["new"]);
        }
        let (schema, values) = round(&mut readings, &mut devices, &["new"]);
        assert_eq!(schema[0].label("device"), Some("new"));
        assert_eq!((values, readings.dropped()), (vec![None, Some(7)], 0));
    }

    #[test]
    fn many_series_that_are_long_gone_lose_their_places() {
        let (mut readings, mut devices) = (Readings::default(), Devices::new(FAMILIES, 99));
        let names: Vec<String> = (0..GONE_SERIES_MIN).map(|index| format!("veth{index}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let _ = round(&mut readings, &mut devices, &names);
        for _ in 0..GONE_ROUNDS - LOOK_ROUNDS {
            let (schema, _) = round(&mut readings, &mut devices, &["eth0"]);
            assert_eq!(schema.len(), 2 * names.len() + 2);
        }
        for _ in 0..2 * LOOK_ROUNDS {
            let _ = round(&mut readings, &mut devices, &["eth0"]);
        }
        assert_eq!(readings.series(), 2);
    }

    #[test]
    fn the_schema_never_outgrows_its_limit() {
        let (mut readings, mut devices) = (Readings::default(), Devices::new(FAMILIES, usize::MAX));
        let names: Vec<String> = (0..SERIES_MAX).map(|index| format!("sd{index}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (schema, _) = round(&mut readings, &mut devices, &names);
        assert_eq!((schema.len(), readings.dropped()), (SERIES_MAX, SERIES_MAX));
    }

    #[test]
    fn the_texts_of_a_schema_never_outgrow_their_limit() {
        let mut readings = Readings::default();
        let long = "x".repeat(TEXT_BYTES_MAX);
        let labels: Vec<_> = ["a", "b", "c", "d"].iter().map(|name| (*name, long.as_str())).collect();
        while readings.add(FAMILIES, &labels).is_some() {}
        let (schema, _) = readings.take();
        let bytes: usize = schema.iter().map(Series::text_bytes).sum();
        assert!(
            schema.len() < SERIES_MAX && bytes <= SCHEMA_BYTES_MAX,
            "{} series, {bytes} bytes",
            schema.len()
        );
        assert!(readings.dropped() > 0);
    }

    #[test]
    fn a_label_longer_than_the_wire_allows_is_dropped() {
        let mut readings = Readings::default();
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(readings.add(FAMILIES, &[("mountpoint", &long)]), None);
        assert_eq!(readings.dropped(), 2);
    }

    #[test]
    fn discarding_takes_only_the_readings_of_one_collector() {
        let mut readings = Readings::default();
        let _starts_over = readings.begin();
        for owner in [0, 1] {
            readings.enter(owner);
            let slot = readings.add(FAMILIES, &[]).unwrap();
            readings.set(slot, 0, 5);
        }
        readings.discard(1);
        assert_eq!(readings.take().1, [Some(5), None, None, None]);
    }
}
