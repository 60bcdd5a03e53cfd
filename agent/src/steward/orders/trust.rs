//! Changes of who may order and what routines there are: along the chain, never back.

use campanile_common::api::AuditOutcome;
use campanile_common::authority::{SignedAuthority, SignedCatalogue};
use campanile_common::time::Timestamp;

use super::{Orders, accepted, local, refused};

impl Orders {
    /// Follows the authority, or says why not. The versions in force afterwards.
    pub(in crate::steward) fn follow(
        &mut self,
        offered: SignedAuthority,
        now: Timestamp,
    ) -> Result<(u64, Option<u64>), String> {
        self.look_around(now);
        let before = self.versions().map(|(authority, _)| authority);
        let followed = match &mut self.pin {
            Ok(pin) => pin.follow(offered).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match followed {
            Ok(has_dropped) => {
                let versions = self.versions().expect("what was followed is there");
                if before != Some(versions.0) {
                    let target = format!("authority:{}", versions.0);
                    self.audit.note(now, accepted("authority.follow", &target, String::new()));
                }
                if has_dropped {
                    let detail = "its signatures do not suffice under the authority now in force".to_owned();
                    self.audit.note(now, local("catalogue.drop", "catalogue", AuditOutcome::Ok, detail));
                }
                Ok(versions)
            }
            Err(reason) => {
                self.audit.note(now, refused("authority.refuse", "authority", reason.clone()));
                Err(reason)
            }
        }
    }

    /// Takes a newer catalogue, or says why not. The versions in force afterwards.
    pub(in crate::steward) fn take_catalogue(
        &mut self,
        offered: SignedCatalogue,
        now: Timestamp,
    ) -> Result<(u64, Option<u64>), String> {
        self.look_around(now);
        let before = self.versions();
        let taken = match &mut self.pin {
            Ok(pin) => pin.take_catalogue(offered).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match taken {
            Ok(()) => {
                let versions = self.versions().expect("what was taken is there");
                if before != Some(versions) {
                    let target = format!("catalogue:{}", versions.1.unwrap_or_default());
                    self.audit.note(now, accepted("catalogue.take", &target, String::new()));
                }
                Ok(versions)
            }
            Err(reason) => {
                self.audit.note(now, refused("catalogue.refuse", "catalogue", reason.clone()));
                Err(reason)
            }
        }
    }

    fn versions(&self) -> Option<(u64, Option<u64>)> {
        let pin = self.pin.as_ref().ok()?;
        let catalogue = pin.catalogue.as_ref().map(|catalogue| catalogue.document().version);
        Some((pin.authority.document().version, catalogue))
    }
}
