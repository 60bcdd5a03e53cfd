//! Fields of structs as the source writes them, with their comments: what a file of settings may say.

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// As written, `Option<u64>`.
    pub(crate) kind: String,
    pub(crate) doc: String,
}

/// The fields of a struct in this text; none where there is no such struct.
pub(crate) fn fields(source: &str, name: &str) -> Option<Vec<Field>> {
    let start = source.find(&format!("struct {name} {{\n"))?;
    let mut fields = Vec::new();
    let mut doc = String::new();
    for line in source[start..].lines().skip(1).take_while(|line| *line != "}") {
        let line = line.trim();
        if let Some(more) = line.strip_prefix("///") {
            doc.push_str(more);
        } else if !line.starts_with("#[") {
            let bare = line.trim_start_matches("pub(super) ").trim_start_matches("pub ");
            let (name, kind) = bare.split_once(": ").unwrap_or_else(|| panic!("a field in `{line}`"));
            let (name, kind) = (name.to_owned(), kind.trim_end_matches(',').to_owned());
            fields.push(Field { name, kind, doc: std::mem::take(&mut doc).trim().to_owned() });
        }
    }
    Some(fields)
}

/// The text behind the first `<` of a type such as `Option<T>`, or the type itself.
pub(crate) fn inner(kind: &str) -> &str {
    kind.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>')).unwrap_or(kind)
}

/// The keys that a file may hold, with the names of its tables before them: `spool.bytes_max`.
pub(crate) fn keys(source: &str, name: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for field in fields(source, name).unwrap_or_else(|| panic!("no struct {name}")) {
        let kind = inner(&field.kind);
        match fields(source, kind) {
            Some(_) => {
                keys.extend(self::keys(source, kind).iter().map(|below| format!("{}.{below}", field.name)))
            }
            None => keys.push(field.name),
        }
    }
    keys
}

#[test]
fn fields_are_found_with_their_tables() {
    let source = "/// A.\nstruct A {\n    /// One,\n    /// and more.\n    #[serde(default)]\n    pub one: Option<u32>,\n    b: B,\n}\n\nstruct B {\n    two: bool,\n}\n";
    let found = fields(source, "A").unwrap();
    assert_eq!((found[0].name.as_str(), found[0].doc.as_str()), ("one", "One, and more."));
    assert_eq!(keys(source, "A"), ["one", "b.two"]);
}
