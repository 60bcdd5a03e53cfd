//! Printing the output of many nodes as it comes: whole lines behind the node's name, or one node's bytes as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use campanile_common::api::{OrderTarget, OutputPiece};
use campanile_common::id::NodeId;
use data_encoding::BASE64;

/// Longest line that is held back until its end comes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Prints output. Pieces may come again after the stream broke; each byte is printed once.
#[derive(Debug)]
pub struct Printer {
    /// Width of the names; none for one node, whose output is not labelled.
    width: Option<usize>,
    /// True where a terminal would obey what nodes write.
    is_filtered: bool,
    /// What was printed of each node, in bytes of both streams.
    printed: BTreeMap<NodeId, u64>,
    /// Lines without their end.
    open: BTreeMap<(NodeId, bool), Vec<u8>>,
    ended: BTreeSet<NodeId>,
}

impl Printer {
    /// For nodes with these names.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>, is_filtered: bool) -> Self {
        let widths: Vec<usize> = names.into_iter().map(|name| name.chars().count()).collect();
        let width = if widths.len() == 1 { None } else { Some(widths.into_iter().max().unwrap_or(0)) };
        Self { width, is_filtered, printed: BTreeMap::new(), open: BTreeMap::new(), ended: BTreeSet::new() }
    }

    /// Prints a piece of output.
    ///
    /// # Errors
    /// When it cannot be printed.
    pub fn piece<'a>(
        &mut self,
        piece: &OutputPiece,
        out: &'a mut (dyn Write + 'a),
        err: &'a mut (dyn Write + 'a),
    ) -> io::Result<()> {
        let Ok(bytes) = BASE64.decode(piece.data.as_bytes()) else { return Ok(()) };
        let printed = self.printed.entry(piece.node_id).or_default();
        let known = usize::try_from(printed.saturating_sub(piece.offset)).unwrap_or(usize::MAX);
        let Some(fresh) = bytes.get(known..).filter(|fresh| !fresh.is_empty()) else { return Ok(()) };
        *printed = piece.offset + u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let is_error = piece.stream == "stderr";
        let to = if is_error { err } else { out };
        if self.width.is_none() {
            return to.write_all(&self.filtered(fresh));
        }
        let mut line = self.open.remove(&(piece.node_id, is_error)).unwrap_or_default();
        for part in fresh.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if line.ends_with(b"\n") || line.len() >= LINE_BYTES_MAX {
                self.line(&piece.name, &line, to)?;
                line.clear();
            }
        }
        if !line.is_empty() {
            self.open.insert((piece.node_id, is_error), line);
        }
        Ok(())
    }

    /// Prints what is left of a node that has ended, and how much of its output was not kept.
    ///
    /// # Errors
    /// When it cannot be printed.
    pub fn end(&mut self, target: &OrderTarget, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
        if !self.ended.insert(target.node_id) {
            return Ok(());
        }
        for is_error in [false, true] {
            if let Some(line) = self.open.remove(&(target.node_id, is_error)) {
                if is_error {
                    self.line(&target.name, &line, err)?;
                } else {
                    self.line(&target.name, &line, out)?;
                }
            }
        }
        let lost = target.output_bytes.saturating_sub(target.output_kept);
        if lost > 0 {
            self.line(&target.name, format!("[... {lost} bytes not kept]").as_bytes(), err)?;
        }
        Ok(())
    }

    fn line(&self, name: &str, line: &[u8], to: &mut dyn Write) -> io::Result<()> {
        let mut whole = Vec::new();
        if let Some(width) = self.width {
            whole.extend_from_slice(format!("{name:width$} | ").as_bytes());
        }
        whole.extend_from_slice(&self.filtered(line));
        if !whole.ends_with(b"\n") {
            whole.push(b'\n');
        }
        // One call, so that lines of several processes at one terminal do not mix.
        to.write_all(&whole)
    }

    fn filtered(&self, bytes: &[u8]) -> Vec<u8> {
        if self.is_filtered { harmless(bytes) } else { bytes.to_vec() }
    }
}

/// The bytes without those that a terminal obeys: what nodes write may hold anything.
pub fn harmless(bytes: &[u8]) -> Vec<u8> {
    let is_obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r');
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if is_obeyed(c) { '\u{fffd}' } else { c }).collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::tests::target;
    use campanile_common::api::TargetState;

    fn piece(node: usize, stream: &str, offset: u64, text: &str) -> OutputPiece {
        let target = target(node, TargetState::Running);
        OutputPiece {
            node_id: target.node_id,
            name: target.name,
            stream: stream.to_owned(),
            offset,
            data: BASE64.encode(text.as_bytes()),
        }
    }

    fn printed(printer: &mut Printer, pieces: &[OutputPiece]) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        for piece in pieces {
            printer.piece(piece, &mut out, &mut err).unwrap();
        }
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn lines_of_several_nodes_stay_whole_behind_their_names() {
        let mut printer = Printer::new(["node-1", "db"], false);
        let (out, err) = printed(
            &mut printer,
            &[
                piece(1, "stdout", 0, "one\ntw"),
                piece(2, "stdout", 0, "x\n"),
                piece(1, "stderr", 6, "bad\n"),
                piece(1, "stdout", 10, "o\n"),
            ],
        );
        assert_eq!(out, "node-1 | one\nnode-2 | x\nnode-1 | two\n");
        assert_eq!(err, "node-1 | bad\n");
    }

    #[test]
    fn one_node_is_printed_as_it_is() {
        let mut printer = Printer::new(["node-1"], false);
        let (out, _) = printed(&mut printer, &[piece(1, "stdout", 0, "\u{1b}[1mone\r\ntw")]);
        assert_eq!(out, "\u{1b}[1mone\r\ntw");
    }

    #[test]
    fn a_terminal_obeys_no_node() {
        let mut printer = Printer::new(["node-1"], true);
        let (out, _) = printed(&mut printer, &[piece(1, "stdout", 0, "\u{1b}]0;x\u{7}a\tb\n")]);
        assert_eq!(out, "\u{fffd}]0;x\u{fffd}a\tb\n");
    }

    #[test]
    fn what_comes_again_is_printed_once() {
        let mut printer = Printer::new(["a", "b"], false);
        let again = [
            piece(1, "stdout", 0, "one\n"),
            piece(1, "stdout", 0, "one\n"),
            piece(1, "stdout", 0, "one\ntwo\n"),
        ];
        assert_eq!(printed(&mut printer, &again).0, "node-1 | one\nnode-1 | two\n");
    }

    #[test]
    fn the_end_prints_the_open_line_and_what_was_not_kept_once() {
        let mut printer = Printer::new(["a", "b"], false);
        printed(&mut printer, &[piece(1, "stdout", 0, "no end")]);
        let mut ended = target(1, TargetState::Ok);
        (ended.output_bytes, ended.output_kept) = (1000, 6);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            printer.end(&ended, &mut out, &mut err).unwrap();
        }
        assert_eq!(out, b"node-1 | no end\n");
        assert_eq!(err, b"node-1 | [... 994 bytes not kept]\n");
    }

    #[test]
    fn a_line_without_an_end_is_not_held_back_for_ever() {
        let mut printer = Printer::new(["a", "b"], false);
        let (out, _) = printed(&mut printer, &[piece(1, "stdout", 0, &"x".repeat(LINE_BYTES_MAX))]);
        assert_eq!(out.len(), "node-1 | \n".len() + LINE_BYTES_MAX);
    }
}
