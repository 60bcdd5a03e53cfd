//! One TOML file of a bundle becomes a layer.

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::config::generation::LayerKind;
use crate::config::layer::{FilePart, Layer};
use crate::config::merge::appended;
use crate::config::resource::{Kind, ResourceId};
use crate::selector::Selector;

use super::lines::{Lines, Text};
use super::{BundleLayer, BundleSource, LintError, meant};

/// Keys that resources name parts of the bundle by.
const SOURCE: &str = "source";
const TEMPLATE: &str = "template";

type Table<'a> = DeTable<'a>;
type Entry<'a, 'b> = (&'b Spanned<DeString<'a>>, &'b Spanned<DeValue<'a>>);

struct Reader<'a> {
    source: &'a BundleSource,
    path: &'a str,
    kind: LayerKind,
    text: Text<'a>,
    lines: Lines,
    layer: Layer,
    selector: Option<String>,
    priority: i32,
    errors: &'a mut Vec<LintError>,
}

/// Reads a file; what is wrong goes to `errors`, and then there may be no layer.
pub(super) fn read(
    source: &BundleSource,
    path: &str,
    kind: LayerKind,
    name: &str,
    bytes: &[u8],
    errors: &mut Vec<LintError>,
) -> Option<BundleLayer> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        errors.push(LintError::of_file(path, "it is not UTF-8 text".to_owned(), None));
        return None;
    };
    let places = Text::new(text);
    let (table, wrong) = DeTable::parse_recoverable(text);
    if !wrong.is_empty() {
        errors.extend(wrong.iter().map(|error| {
            let (line, column) = places.place(error.span().map_or(0, |span| span.start));
            let message = error.message().trim_end().replace('\n', ", ");
            LintError { path: path.to_owned(), line, column: Some(column), message, suggestion: None }
        }));
        return None;
    }
    let mut reader = Reader {
        source,
        path,
        kind,
        text: places,
        lines: Lines::default(),
        layer: Layer::default(),
        selector: None,
        priority: 0,
        errors,
    };
    reader.read_all(table.get_ref());
    let Reader { lines, layer, selector, priority, .. } = reader;
    let (name, path) = (name.to_owned(), path.to_owned());
    let layer = BundleLayer { kind, name, path, selector, priority, layer, lines };
    if layer.is_too_long() {
        let help = "move long texts into files/".to_owned();
        errors.push(LintError::of_file(&layer.path, "the layer is too long".to_owned(), Some(help)));
    }
    Some(layer)
}

impl Reader<'_> {
    fn error(&mut self, offset: usize, message: String, suggestion: Option<String>) {
        let (line, column) = self.text.place(offset);
        let path = self.path.to_owned();
        self.errors.push(LintError { path, line, column: Some(column), message, suggestion });
    }

    fn note(&mut self, path: &[String], key: &Spanned<DeString<'_>>) {
        self.lines.note(path, self.text.place(key.span().start));
    }

    fn read_all(&mut self, table: &Table<'_>) {
        for entry in table {
            let (key, value) = entry;
            match key.get_ref().as_ref() {
                "selector" if self.kind == LayerKind::Group => self.read_selector(value),
                "priority" if self.kind == LayerKind::Group => self.read_priority(value),
                "vars" => self.read_vars(entry),
                name => match name.parse::<Kind>() {
                    Ok(kind) => self.read_kind(kind, value),
                    Err(_) => self.unknown(key),
                },
            }
        }
        if self.kind == LayerKind::Group && self.selector.is_none() {
            let help = "say whom it is for, e.g. selector = \"role=web\"".to_owned();
            self.error(0, "a group has a `selector`, and this one has none".to_owned(), Some(help));
        }
    }

    fn unknown(&mut self, key: &Spanned<DeString<'_>>) {
        let name = key.get_ref().as_ref();
        let kinds = Kind::ALL.iter().map(|kind| kind.as_str());
        let (message, help) = match (name, self.kind) {
            ("selector" | "priority", kind) => {
                let whom =
                    if kind == LayerKind::Fleet { "for every node" } else { "for the node of its name" };
                (format!("`{name}` belongs into groups; this file is {whom}"), None)
            }
            (_, LayerKind::Group) => {
                let known = kinds.chain(["vars", "selector", "priority"]);
                (format!("there is no kind of resource and no key `{name}`"), meant(name, known))
            }
            _ => (
                format!("there is no kind of resource and no key `{name}`"),
                meant(name, kinds.chain(["vars"])),
            ),
        };
        self.error(key.span().start, message, help);
    }

    fn read_selector(&mut self, value: &Spanned<DeValue<'_>>) {
        let at = value.span().start;
        let Some(text) = value.get_ref().as_str() else {
            return self.error(at, "`selector` is text, e.g. \"role=web\"".to_owned(), None);
        };
        if let Err(error) = text.parse::<Selector>() {
            self.error(at, error.to_string(), None);
        }
        self.selector = Some(text.to_owned());
    }

    fn read_priority(&mut self, value: &Spanned<DeValue<'_>>) {
        let number = match value.get_ref() {
            DeValue::Integer(number) => i32::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        match number {
            Some(number) => self.priority = number,
            None => self.error(value.span().start, "`priority` is a whole number, e.g. 10".to_owned(), None),
        }
    }

    fn read_vars(&mut self, (key, value): Entry<'_, '_>) {
        let mut path = vec!["vars".to_owned()];
        self.note(&path, key);
        match self.value(value, &mut path) {
            Some(Value::Object(vars)) => {
                self.layer.vars = vars;
                self.check_vars(value);
            }
            Some(_) => self.error(key.span().start, "`vars` is a table, e.g. [vars]".to_owned(), None),
            None => {}
        }
    }

    /// A variable is not rendered, so a secret in one would only ever be its name.
    fn check_vars(&mut self, value: &Spanned<DeValue<'_>>) {
        match value.get_ref() {
            DeValue::String(text) if text.contains("{{") && text.contains("secret(") => {
                let help = "write {{ secret(\"NAME\") }} into the template that needs it".to_owned();
                let message = "a variable is not rendered and cannot hold a secret".to_owned();
                self.error(value.span().start, message, Some(help));
            }
            DeValue::Array(list) => list.iter().for_each(|value| self.check_vars(value)),
            DeValue::Table(table) => table.iter().for_each(|(_, value)| self.check_vars(value)),
            _ => {}
        }
    }

    fn read_kind(&mut self, kind: Kind, value: &Spanned<DeValue<'_>>) {
        let Some(resources) = value.get_ref().as_table() else {
            let message = format!("write [{}.\"NAME\"]", kind.as_str());
            return self.error(value.span().start, message, None);
        };
        for (name, value) in resources {
            self.read_resource(ResourceId { kind, name: name.get_ref().clone().into_owned() }, name, value);
        }
    }

    fn read_resource(&mut self, id: ResourceId, name: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let at = name.span().start;
        let mut path = vec![id.kind.as_str().to_owned(), id.name.clone()];
        self.note(&path, name);
        let Some(entries) = value.get_ref().as_table() else {
            // `[package] nginx.ensure = ..` is a table; `file.mode = ..` has forgotten the name.
            let message = format!("{id} is no table");
            let help = format!("write [{}.\"NAME\"] and the keys beneath it", id.kind.as_str());
            return self.error(at, message, Some(help));
        };
        if let Err(problem) = id.check() {
            self.error(at, format!("{id}: {problem}"), None);
        }
        let mut table = Map::new();
        for (key, value) in entries {
            path.push(key.get_ref().clone().into_owned());
            self.note(&path, key);
            if let Some(json) = self.value(value, &mut path) {
                self.check_value(&id, key, value, &json);
                table.insert(key.get_ref().clone().into_owned(), json);
            }
            path.pop();
        }
        self.layer.resources.entry(id.kind.as_str().to_owned()).or_default().insert(id.name, table);
    }

    fn check_value(
        &mut self,
        id: &ResourceId,
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
        json: &Value,
    ) {
        let name = key.get_ref().as_ref();
        let kind = id.kind;
        let known = kind.keys();
        if !known.iter().any(|known| known == name) {
            let message = format!("{id}: a {} has no key `{name}`", kind.as_str());
            let help = meant(name, known.iter().map(String::as_str))
                .unwrap_or_else(|| format!("its keys are {}", known.join(", ")));
            return self.error(key.span().start, message, Some(help));
        }
        let list = json.as_object().and_then(appended).map(|list| Value::Array(list.clone()));
        if let Err(problem) = kind.check_key(name, list.as_ref().unwrap_or(json)) {
            return self.error(value.span().start, format!("{id}: {name}: {problem}"), None);
        }
        if let Value::String(part) = json {
            match (kind, name) {
                (Kind::File, SOURCE) => self.name_file(id, part, value),
                (Kind::File | Kind::Firewall, TEMPLATE) => self.name_template(id, part, value),
                _ => {}
            }
        }
    }

    fn name_file(&mut self, id: &ResourceId, name: &str, value: &Spanned<DeValue<'_>>) {
        let source = self.source;
        match source.files.get(name) {
            Some(part) => {
                self.layer.files.insert(name.to_owned(), *part);
            }
            None => {
                let help = meant(name, source.files.keys().map(String::as_str));
                self.error(value.span().start, format!("{id}: files/{name} is not there"), help);
            }
        }
    }

    fn name_template(&mut self, id: &ResourceId, name: &str, value: &Spanned<DeValue<'_>>) {
        let source = self.source;
        let part: Option<FilePart> = source.template_part(name);
        match part {
            Some(part) => {
                self.layer.templates.insert(name.to_owned(), part);
            }
            None => {
                let help = meant(name, source.templates.keys().map(String::as_str));
                self.error(value.span().start, format!("{id}: templates/{name} is not there"), help);
            }
        }
    }

    /// As JSON; the places of the keys of tables are noted.
    fn value(&mut self, value: &Spanned<DeValue<'_>>, path: &mut Vec<String>) -> Option<Value> {
        Some(match value.get_ref() {
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Integer(number) => {
                let (digits, radix) = (number.as_str(), number.radix());
                match i64::from_str_radix(digits, radix) {
                    Ok(number) => Value::from(number),
                    Err(_) => return self.no_value(value, "that number is too large"),
                }
            }
            DeValue::Float(number) => match number.as_str().parse::<f64>().ok().and_then(Number::from_f64) {
                Some(number) => Value::Number(number),
                None => return self.no_value(value, "that is no number that can be sent"),
            },
            DeValue::Datetime(_) => {
                return self.no_value(value, "a date or time is written as text, in quotes");
            }
            DeValue::Array(list) => {
                Value::Array(list.iter().map(|value| self.value(value, path)).collect::<Option<_>>()?)
            }
            DeValue::Table(table) => {
                let mut object = Map::new();
                for (key, value) in table {
                    path.push(key.get_ref().clone().into_owned());
                    self.note(path, key);
                    let json = self.value(value, path);
                    path.pop();
                    object.insert(key.get_ref().clone().into_owned(), json?);
                }
                Value::Object(object)
            }
        })
    }

    fn no_value(&mut self, value: &Spanned<DeValue<'_>>, message: &str) -> Option<Value> {
        self.error(value.span().start, message.to_owned(), None);
        None
    }
}
