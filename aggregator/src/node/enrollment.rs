//! Decides whether a token may enrol a node. Pure: the record and the time go in.

use campanile_common::id::Digest;
use campanile_common::time::Timestamp;
use campanile_common::wire::hello::{Refusal, RefusalCode};

use super::record::{TokenRecord, check_name};

/// The token's record after one more use.
///
/// # Errors
/// A refusal that says what the operator can do. An unknown secret and a wrong one are told alike.
pub(super) fn redeem(
    record: Option<&TokenRecord>,
    secret: Digest,
    name: &str,
    now: Timestamp,
) -> Result<TokenRecord, Refusal> {
    let refuse = |code, reason: String| Err(Refusal { code, reason });
    let Some(record) = record.filter(|record| record.secret == secret) else {
        let reason = "this aggregator does not know the token; make one with `campanile token create`";
        return refuse(RefusalCode::TokenInvalid, reason.to_owned());
    };
    if record.revoked.is_some() {
        return refuse(RefusalCode::TokenInvalid, "the token was revoked".to_owned());
    }
    if now >= record.expires {
        return refuse(RefusalCode::TokenInvalid, format!("the token expired at {}", record.expires));
    }
    if record.uses >= record.uses_max {
        let reason = format!("the token has been used {} of {} times", record.uses, record.uses_max);
        return refuse(RefusalCode::TokenInvalid, reason);
    }
    if let Err(reason) = check_name(name) {
        return refuse(RefusalCode::Malformed, reason);
    }
    if let Some(only) = &record.name
        && only != name
    {
        return refuse(RefusalCode::TokenInvalid, format!("the token is for a node named `{only}` alone"));
    }
    Ok(TokenRecord { uses: record.uses + 1, ..record.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: Digest = Digest::from_bytes([7; 32]);
    const NOW: Timestamp = Timestamp::from_millis(5000);

    fn record() -> TokenRecord {
        TokenRecord {
            token_id: super::super::record::token_id(SECRET),
            secret: SECRET,
            labels: "role=web".parse().unwrap(),
            name: None,
            created_by: "person:ada".to_owned(),
            created: Timestamp::from_millis(0),
            expires: Timestamp::from_millis(9000),
            uses_max: 2,
            uses: 0,
            revoked: None,
            authority: Digest::from_bytes([1; 32]),
        }
    }

    fn refusal(record: Option<TokenRecord>, secret: Digest, name: &str, now: Timestamp) -> Refusal {
        redeem(record.as_ref(), secret, name, now).unwrap_err()
    }

    #[test]
    fn a_valid_token_counts_its_use() {
        assert_eq!(redeem(Some(&record()), SECRET, "web-1", NOW).unwrap().uses, 1);
    }

    #[test]
    fn unknown_wrong_revoked_expired_and_used_up_tokens_are_refused() {
        let revoked = TokenRecord { revoked: Some(NOW), ..record() };
        let used_up = TokenRecord { uses: 2, ..record() };
        let cases = [
            refusal(None, SECRET, "web-1", NOW),
            refusal(Some(record()), Digest::from_bytes([8; 32]), "web-1", NOW),
            refusal(Some(revoked), SECRET, "web-1", NOW),
            refusal(Some(record()), SECRET, "web-1", record().expires),
            refusal(Some(used_up), SECRET, "web-1", NOW),
        ];
        assert!(cases.iter().all(|refusal| refusal.code == RefusalCode::TokenInvalid));
        assert_eq!(cases[0].reason, cases[1].reason, "a wrong secret learns nothing");
    }

    #[test]
    fn a_token_for_one_name_enrols_no_other() {
        let only = TokenRecord { name: Some("db-1".to_owned()), ..record() };
        assert_eq!(refusal(Some(only.clone()), SECRET, "web-1", NOW).code, RefusalCode::TokenInvalid);
        assert!(redeem(Some(&only), SECRET, "db-1", NOW).is_ok());
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        assert_eq!(refusal(Some(record()), SECRET, "web 1", NOW).code, RefusalCode::Malformed);
    }
}
