//! What the agent says of how it runs: how far it is confined, and why it does no more than to show that it is there.

use campanile_common::api::Confinement;
use campanile_common::sample::{Scale, TEXT_BYTES_MAX};

use super::collector::readings::{Devices, Family, Readings};

static CONFINEMENT: &[Family] = &[Family::gauge("campanile_agent_confinement", Scale::ONE)];
static SAFE_MODE: &[Family] = &[Family::gauge("campanile_agent_safe_mode", Scale::ONE)];
/// Layers of confinement; there are five.
const LAYERS_MAX: usize = 8;

/// How the agent runs; the same from its start to its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manner {
    /// How far it is confined.
    pub confinement: Confinement,
    /// Why it is in safe mode; none when it is not.
    pub safe_mode: Option<String>,
}

/// The series of that.
pub(super) struct Own {
    manner: Manner,
    layers: Devices,
    safe_mode: Devices,
}

impl Own {
    pub(super) fn new(mut manner: Manner) -> Self {
        let states = manner.confinement.layers.iter_mut().map(|layer| &mut layer.state);
        for text in states.chain(&mut manner.safe_mode) {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        }
        Self { manner, layers: Devices::new(CONFINEMENT, LAYERS_MAX), safe_mode: Devices::new(SAFE_MODE, 1) }
    }

    /// Its readings of this round.
    pub(super) fn set(&mut self, readings: &mut Readings) {
        self.layers.rewind();
        for layer in &self.manner.confinement.layers {
            let labels = |_: &str| vec![("layer", layer.layer.as_str()), ("state", layer.state.as_str())];
            if let Some(slot) = self.layers.slot(readings, &layer.layer, labels) {
                readings.set(slot, 0, layer.is_on.into());
            }
        }
        self.safe_mode.rewind();
        if let Some(reason) = &self.manner.safe_mode
            && let Some(slot) = self.safe_mode.slot(readings, reason, |reason| vec![("reason", reason)])
        {
            readings.set(slot, 0, 1);
        }
    }

    pub(super) fn forget(&mut self) {
        self.layers.forget();
        self.safe_mode.forget();
    }
}
