//! The floor against an aggregator that follows a script, with a real key in a folder of its own.

use std::sync::{Arc, Mutex};

use campanile_common::api::FloorPending;
use campanile_common::authority::SignedFloor;
use campanile_common::time::Timestamp;

use super::*;
use crate::context::Environment;
use crate::testing::{Script, answer, authority_answer, campanile, operator};

fn standing() -> FloorStanding {
    FloorStanding {
        days: 30,
        since: Timestamp::from_millis(1_790_000_000_000),
        settings_days: 30,
        next_number: 3,
        pending: None,
        waiting: None,
    }
}

/// An aggregator with this floor. What is handed in it takes, and keeps.
fn aggregator(
    folder: &tempfile::TempDir,
    floor: FloorStanding,
    submitted: Submitted,
) -> (Script, Arc<Mutex<Vec<String>>>) {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let (taken, chain) = (Arc::clone(&kept), authority_answer(folder.path()));
    let script = Script::choosing(Box::new(move |line, body| {
        let json = |value: String| answer("200 OK", &value);
        if line.starts_with("GET /api/v1/authority") {
            return chain.clone();
        }
        if line.starts_with("POST /api/v1/backups/floor ")
            || line.starts_with("DELETE /api/v1/backups/floor ")
        {
            taken.lock().unwrap().push(body.to_owned());
            if line.starts_with("POST") {
                return json(serde_json::to_string(&submitted).unwrap());
            }
        }
        json(serde_json::to_string(&floor).unwrap())
    }));
    (script, kept)
}

fn waits() -> Submitted {
    Submitted {
        in_force: false,
        id: "floor-3".to_owned(),
        signed_by: vec!["ada".to_owned()],
        signatures_needed: 2,
    }
}

#[test]
fn the_floor_is_shown_and_what_to_do_where_the_settings_say_less() {
    let folder = operator();
    let (script, _) = aggregator(&folder, FloorStanding { settings_days: 14, ..standing() }, waits());
    for line in [&["backup", "floor"][..], &["backup", "floor", "show"]] {
        let (exit, out, err) = campanile(&script, &folder, line);
        assert_eq!(exit, Exit::Fine, "{err}");
        assert!(out.contains("30 days") && err.contains("campanile backup floor set 14"), "{out}{err}");
    }
    let pending = FloorPending {
        days: 14,
        signed_by: vec!["ada".to_owned(), "bob".to_owned()],
        signed_at: standing().since,
        counts_at: standing().since,
    };
    let (script, _) = aggregator(&folder, FloorStanding { pending: Some(pending), ..standing() }, waits());
    let (_, out, err) = campanile(&script, &folder, &["backup", "floor"]);
    assert!(out.contains("14 days from") && err.contains("backup floor withdraw"), "{out}{err}");
}

#[test]
fn a_decision_is_signed_for_this_moment_and_waits_for_others() {
    let folder = operator();
    let (script, kept) = aggregator(&folder, standing(), waits());
    let (exit, out, err) = campanile(&script, &folder, &["backup", "floor", "set", "14", "--yes"]);
    assert_eq!(exit, Exit::Waiting, "{err}");
    assert!(out.contains("floor-3 has 1 of 2") && err.contains("approve sign floor-3"), "{out}{err}");
    let text: SignedText = serde_json::from_str(&kept.lock().unwrap()[0]).unwrap();
    let (bytes, signatures) = text.decode().unwrap();
    let signed = SignedFloor { bytes, signatures };
    let document = signed.read().unwrap();
    assert_eq!((document.number, document.from_days, document.days), (3, 30, 14));
    let variables = [("CAMPANILE_CONFIG_DIR".to_owned(), folder.path().to_str().unwrap().to_owned())].into();
    let authority = authority::load(&Environment { variables, ..Environment::default() }).unwrap();
    assert_eq!(signed.signers(&authority).len(), 1);
    assert_eq!(campanile(&script, &folder, &["backup", "floor", "set", "0", "--yes"]).0, Exit::Usage);
    assert_eq!(campanile(&script, &folder, &["backup", "floor", "set", "30", "--yes"]).0, Exit::Failed);
    assert_eq!(kept.lock().unwrap().len(), 1, "nothing else was handed in");
}

#[test]
fn nobody_decides_or_withdraws_without_being_asked() {
    let folder = operator();
    let (script, kept) = aggregator(&folder, standing(), waits());
    assert_eq!(campanile(&script, &folder, &["backup", "floor", "set", "14"]).0, Exit::Failed);
    assert_eq!(campanile(&script, &folder, &["backup", "floor", "withdraw"]).0, Exit::Failed);
    assert!(kept.lock().unwrap().is_empty());
    assert_eq!(campanile(&script, &folder, &["backup", "floor", "withdraw", "--yes"]).0, Exit::Fine);
    assert_eq!(kept.lock().unwrap().len(), 1);
}
