//! What a server's answer means: pages of lists, and refusals. Pure.

use roxmltree::{Document, Node};

/// What a request came to that the server did not fulfil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It may do it when it is asked again.
    Again(String),
    /// There is no such object.
    Missing,
    /// There is one already.
    Exists,
    /// The object has fewer bytes.
    Short,
    /// It does not know a header that is not needed.
    NotImplemented(String),
    /// No room is left.
    Full(String),
    /// It never will; the text says what to do.
    Never(String),
}

/// An error as S3 tells it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    code: String,
    message: String,
    region: Option<String>,
}

/// What stands in texts about a refusal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) bucket: &'a str,
    pub(super) host: &'a str,
    pub(super) region: &'a str,
    /// What was wanted, e.g. `s3:PutObject`.
    pub(super) action: &'a str,
}

/// What an answer with this status means, which is none of success. An answer to HEAD has no body.
pub(super) fn refusal(status: u16, body: &[u8], asked: Asked<'_>) -> Refusal {
    let told = told(body).unwrap_or_default();
    let Asked { bucket, host, region, action } = asked;
    let said = if told.message.is_empty() { told.code.clone() } else { told.message.clone() };
    let said = if said.is_empty() { format!("status {status}") } else { clip(&said) };
    match (status, told.code.as_str()) {
        (_, "NoSuchBucket") => {
            Refusal::Never(format!("there is no bucket `{bucket}` at {host}: make it, or change the target"))
        }
        (404, _) => Refusal::Missing,
        (412, _) => Refusal::Exists,
        (416, _) => Refusal::Short,
        (_, "RequestTimeTooSkewed") => Refusal::Never(format!(
            "{host} says that this node's clock is wrong: set it (`timedatectl`), and try again"
        )),
        (_, "InvalidAccessKeyId") => {
            Refusal::Never(format!("{host} does not know the `access_key_id` of the credentials"))
        }
        (_, "SignatureDoesNotMatch") => Refusal::Never(format!(
            "{host} says that the `secret_access_key` of the credentials is not that of their `access_key_id`"
        )),
        (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => Refusal::Never(format!(
            "the `session_token` of the credentials has run out at {host}: put a new one"
        )),
        (301 | 307 | 308, _)
        | (_, "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException") => {
            let there = told.region.map(|there| format!(" is in `{there}` and")).unwrap_or_default();
            Refusal::Never(format!(
                "the bucket `{bucket}`{there} is not to be had from {host} with region `{region}`: set `region` in the \
                 credentials, or the host of the target ({said})"
            ))
        }
        (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull" | "EntityTooLarge") => Refusal::Full(said),
        (
            _,
            "SlowDown"
            | "RequestTimeout"
            | "InternalError"
            | "OperationAborted"
            | "ConditionalRequestConflict",
        ) => Refusal::Again(said),
        (501, _) | (400, "NotImplemented") => Refusal::NotImplemented(said),
        (401 | 403, _) => Refusal::Never(format!(
            "the credentials may not do {action} in bucket `{bucket}` at {host} ({said})"
        )),
        (408 | 409 | 429 | 500..=599, _) => Refusal::Again(said),
        _ => Refusal::Never(format!("{host} refuses {action} in bucket `{bucket}`: {said}")),
    }
}

/// Without control characters, and not too long: it comes from another machine.
fn clip(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

fn told(body: &[u8]) -> Option<Told> {
    let document = Document::parse(std::str::from_utf8(body).ok()?).ok()?;
    let error = document.root_element();
    if error.tag_name().name() != "Error" {
        return None;
    }
    let of = |name| text(error, name).map(str::to_owned);
    Some(Told {
        code: of("Code").unwrap_or_default(),
        message: of("Message").unwrap_or_default(),
        region: of("Region").filter(|region| !region.is_empty()),
    })
}

fn text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children().find(|child| child.tag_name().name() == name)?.text()
}

/// A part of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListPage {
    /// Keys and their sizes in bytes.
    pub(super) entries: Vec<(String, u64)>,
    /// Where the next part begins; none at the end.
    pub(super) next: Option<String>,
}

/// Reads a part of a list (ListObjectsV2). Why it is none, otherwise: a part that is not understood must not look like
/// the end.
pub(super) fn list_page(body: &[u8]) -> Result<ListPage, String> {
    let body = std::str::from_utf8(body).map_err(|_| "the list is no text".to_owned())?;
    let document = Document::parse(body).map_err(|error| format!("the list is no XML: {error}"))?;
    let result = document.root_element();
    if result.tag_name().name() != "ListBucketResult" {
        return Err(format!("`{}` is no list", clip(result.tag_name().name())));
    }
    let entries = result.children().filter(|child| child.tag_name().name() == "Contents").map(|entry| {
        let key = text(entry, "Key").ok_or("an entry of the list has no key")?;
        let size = text(entry, "Size").and_then(|size| size.trim().parse().ok());
        Ok((key.to_owned(), size.ok_or_else(|| format!("`{}` has no size in the list", clip(key)))?))
    });
    let entries = entries.collect::<Result<Vec<_>, String>>()?;
    let next = match text(result, "IsTruncated").map(str::trim) {
        Some("true") => Some(
            text(result, "NextContinuationToken")
                .filter(|token| !token.is_empty())
                .ok_or("the list goes on and does not say where")?
                .to_owned(),
        ),
        Some("false") => None,
        _ => return Err("the list does not say whether it is complete".to_owned()),
    };
    Ok(ListPage { entries, next })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'_> =
        Asked { bucket: "vault", host: "s3.example.org", region: "us-east-1", action: "s3:PutObject" };

    fn error(status: u16, code: &str) -> Refusal {
        let body =
            format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>m\u{7f}</Message></Error>");
        refusal(status, body.as_bytes(), ASKED)
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (status, code, said) in [
            (404, "NoSuchBucket", "no bucket `vault` at s3.example.org: make it"),
            (403, "RequestTimeTooSkewed", "clock is wrong"),
            (403, "InvalidAccessKeyId", "`access_key_id`"),
            (403, "SignatureDoesNotMatch", "`secret_access_key`"),
            (400, "ExpiredToken", "`session_token`"),
            (301, "PermanentRedirect", "set `region`"),
            (403, "AccessDenied", "may not do s3:PutObject in bucket `vault`"),
            (400, "InvalidRequest", "refuses s3:PutObject"),
        ] {
            let Refusal::Never(text) = error(status, code) else { panic!("{code}") };
            assert!(text.contains(said), "{text}");
        }
        let body = b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>";
        let Refusal::Never(text) = refusal(400, body, ASKED) else { panic!("region") };
        assert!(text.contains("is in `eu-west-1` and"), "{text}");
    }

    #[test]
    fn what_may_pass_is_told_from_what_stays() {
        for (status, code) in
            [(503, "SlowDown"), (500, "InternalError"), (400, "RequestTimeout"), (429, "x"), (502, "")]
        {
            assert!(matches!(error(status, code), Refusal::Again(_)), "{status} {code}");
        }
        assert!(matches!(refusal(503, b"<html>busy", ASKED), Refusal::Again(said) if said == "status 503"));
        assert_eq!(refusal(404, b"", ASKED), Refusal::Missing);
        assert_eq!(error(412, "PreconditionFailed"), Refusal::Exists);
        assert_eq!(error(416, "InvalidRange"), Refusal::Short);
        assert!(matches!(error(501, "NotImplemented"), Refusal::NotImplemented(_)));
        assert!(matches!(error(507, "x"), Refusal::Full(_)));
    }

    #[test]
    fn a_page_of_a_list_is_read() {
        let body = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>
            <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name><IsTruncated>true</IsTruncated>
            <Contents><Key>p/data/a&amp;b</Key><Size>17</Size><Owner><ID>1</ID></Owner></Contents>
            <Contents><Key>p/config</Key><Size>0</Size></Contents>
            <NextContinuationToken>t+/=</NextContinuationToken></ListBucketResult>";
        let page = list_page(body).unwrap();
        assert_eq!(page.entries, [("p/data/a&b".to_owned(), 17), ("p/config".to_owned(), 0)]);
        assert_eq!(page.next.as_deref(), Some("t+/="));
        let last =
            list_page(b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>").unwrap();
        assert_eq!(last, ListPage { entries: Vec::new(), next: None });
    }

    #[test]
    fn what_is_no_whole_page_is_an_error_and_never_a_shorter_list() {
        for body in [
            "",
            "<html></html>",
            "<ListBucketResult></ListBucketResult>",
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key></Contents></ListBucketResult>",
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Size>1</Size></Contents></ListBucketResult>",
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents>",
            "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>",
        ] {
            assert!(list_page(body.as_bytes()).is_err(), "{body}");
        }
        assert!(list_page(&[0xff, 0xfe]).is_err());
    }
}
