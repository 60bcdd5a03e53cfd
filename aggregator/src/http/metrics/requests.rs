//! How requests ended, counted by method, route and status.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::http::Method;

use super::exposition::{Exposition, Kind, label};

/// Route of requests that match none.
pub(in crate::http) const UNMATCHED: &str = "unmatched";

/// Counts. Bounded by the routes that exist, since anything else counts as [`UNMATCHED`].
#[derive(Debug, Default)]
pub(in crate::http) struct RequestCounts {
    counts: Mutex<BTreeMap<(String, &'static str, u16), u64>>,
}

/// Methods beyond those we know would let callers grow the map.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

impl RequestCounts {
    pub(in crate::http) fn count(&self, method: &Method, path: &str, code: u16) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((path.to_owned(), method_name(method), code)).or_default() += 1;
    }

    pub(super) fn write(&self, out: &mut Exposition) {
        let help = "Requests answered, by route and status.";
        let Some(mut family) = out.family("campanile_http_requests_total", Kind::Counter, help) else {
            return;
        };
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for ((path, method, code), count) in counts.iter() {
            let mut labels = String::new();
            label(&mut labels, "method", method);
            label(&mut labels, "path", path);
            label(&mut labels, "code", &code.to_string());
            family.sample(&labels, count);
        }
    }
}
