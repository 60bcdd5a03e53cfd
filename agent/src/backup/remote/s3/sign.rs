//! Signatures of requests: AWS Signature Version 4 in the header `Authorization`. Pure: the time is given.
//!
//! Every header that is given is signed, and so is the hash of the body: what arrives is what was sent, by whom it says.

use data_encoding::HEXLOWER;
use ring::{digest, hmac};

use super::credentials::Credentials;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "s3";

/// A request as far as it is signed.
#[derive(Debug)]
pub(super) struct Unsigned<'a> {
    pub(super) method: &'a str,
    /// Escaped, with a slash at its begin.
    pub(super) path: &'a str,
    /// Escaped, in order, as [`query`] makes it.
    pub(super) query: &'a str,
    /// Names in lower case, in order.
    pub(super) headers: &'a [(&'a str, String)],
    /// SHA-256 of the body in hexadecimal digits.
    pub(super) payload: &'a str,
}

/// The value of `Authorization`. `time` is as in `x-amz-date`.
pub(super) fn authorization(
    request: &Unsigned<'_>,
    credentials: &Credentials,
    region: &str,
    time: &str,
) -> String {
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let headers: String =
        request.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let Unsigned { method, path, query, payload, .. } = request;
    let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{payload}");
    let date = time.get(..8).unwrap_or(time);
    let scope = format!("{date}/{region}/{SERVICE}/aws4_request");
    let text = format!("{ALGORITHM}\n{time}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, credentials.signing_start().as_bytes());
    for part in [date, region, SERVICE, "aws4_request"] {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    let signature = HEXLOWER.encode(hmac::sign(&key, text.as_bytes()).as_ref());
    let id = &credentials.access_key_id;
    format!("{ALGORITHM} Credential={id}/{scope},SignedHeaders={names},Signature={signature}")
}

/// SHA-256 in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// A query of these names and values.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut pairs: Vec<(String, String)> =
        pairs.iter().map(|(name, value)| (escape(name, false), escape(value, false))).collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// With everything escaped that is no letter, digit, `-`, `.`, `_` or `~`; slashes stay in a path.
pub(super) fn escape(text: &str, is_path: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || is_path && byte == b'/' {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// A time as `x-amz-date` takes it: `20261121T161500Z` of `2026-11-21T16:15:00.000Z`.
pub(super) fn stamp(time: campanile_common::time::Timestamp) -> String {
    let text = time.to_string();
    let seconds = text.split('.').next().unwrap_or_default();
    let digits: String = seconds.chars().filter(|c| !"-:".contains(*c)).collect();
    digits + "Z"
}

#[cfg(test)]
mod tests {
    use campanile_common::time::Timestamp;

    use super::*;

    const TIME: &str = "20130524T000000Z";
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// The examples of "Signature Calculations for the Authorization Header" in Amazon's reference of the S3 API.
    fn signature(method: &str, path: &str, query: &str, headers: &[(&str, &str)], payload: &str) -> String {
        let credentials = Credentials::of("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let mut headers: Vec<(&str, String)> =
            headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        headers.push(("host", "examplebucket.s3.amazonaws.com".to_owned()));
        headers.push(("x-amz-content-sha256", payload.to_owned()));
        headers.push(("x-amz-date", TIME.to_owned()));
        headers.sort();
        let request = Unsigned { method, path, query, headers: &headers, payload };
        let value = authorization(&request, &credentials, "us-east-1", TIME);
        let start = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,";
        assert!(value.starts_with(start), "{value}");
        value.rsplit('=').next().unwrap().to_owned()
    }

    #[test]
    fn signatures_are_those_of_the_published_examples() {
        let get = signature("GET", "/test.txt", "", &[("range", "bytes=0-9")], EMPTY);
        assert_eq!(get, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
        let headers =
            [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        let payload = sha256(b"Welcome to Amazon S3.");
        let put = signature("PUT", &escape("/test$file.text", true), "", &headers, &payload);
        assert_eq!(put, "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
        let lifecycle = signature("GET", "/", &query(&[("lifecycle", "")]), &[], EMPTY);
        assert_eq!(lifecycle, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
        let list = signature("GET", "/", &query(&[("prefix", "J"), ("max-keys", "2")]), &[], EMPTY);
        assert_eq!(list, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    }

    #[test]
    fn names_are_escaped_and_times_have_no_marks() {
        assert_eq!(escape("a b/ü~", true), "a%20b/%C3%BC~");
        assert_eq!(escape("a/b+=", false), "a%2Fb%2B%3D");
        assert_eq!(stamp(Timestamp::from_millis(1_369_353_600_123)), TIME);
        assert_eq!(sha256(b""), EMPTY);
    }
}
