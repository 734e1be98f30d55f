//! The piece of SQL that the sandbox's BigQuery understands; it is no engine.
//!
//! ```text
//! SELECT [DISTINCT] item [[AS] name], ... | *
//! FROM `project.dataset.table` [[AS] alias]
//! [WHERE condition AND condition ...] [ORDER BY ...] [LIMIT n]
//! [UNION ALL SELECT ... of the same columns]
//! item:       column | LOWER(column) | UNIX_MICROS(column) | UNIX_MILLIS(column) | CURRENT_TIMESTAMP() | COUNT(*)
//! condition:  column IN UNNEST(@array)   column = @text   column = 'text'   (column may be LOWER(column))
//!             column BETWEEN 'text' AND 'text'   SUBSTR(column, n, n) NOT IN ('text', ...)
//!             STRPOS(column, 'text') > 0   EXISTS(SELECT 1 FROM UNNEST(@array) AS x WHERE STRPOS(column, x) > 0)
//!             LOWER(SUBSTR(column, n, n)) IN UNNEST(SPLIT(@text, ','))
//!             EXISTS(SELECT 1 FROM UNNEST(REGEXP_EXTRACT_ALL(column, 'pattern')) AS x
//!                    WHERE x IN UNNEST(SPLIT(@text, ',')))   (for a pattern, see `pattern`)
//!             condition OR condition OR (condition AND condition) ...
//!             anything about _PARTITIONTIME or _PARTITIONDATE: what counts is whether it admits NULL
//!             anything about the ingest_time column: accepted, not evaluated
//! ```
//!
//! A partition condition with a bound admits every row that has left the streaming buffer, since rows are
//! kept for minutes only. All else is refused as BigQuery refuses what it cannot parse. Otherwise a query
//! could mean something else here than there, and no test would notice.

use std::collections::{HashMap, HashSet};

use super::pattern::Pattern;

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    TraceId,
    Tenant,
    Message,
    IngestTime,
    PartitionTime,
}

impl Column {
    /// Those that the schema shows.
    pub(super) const SHOWN: [Self; 4] = [Self::TraceId, Self::Tenant, Self::Message, Self::IngestTime];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TraceId => "trace_id",
            Self::Tenant => "tenant",
            Self::Message => "message",
            Self::IngestTime => "ingest_time",
            Self::PartitionTime => "_PARTITIONTIME",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let all = [Self::TraceId, Self::Tenant, Self::Message, Self::IngestTime, Self::PartitionTime];
        let by_name = all.into_iter().find(|column| column.name().eq_ignore_ascii_case(name));
        by_name.or_else(|| name.eq_ignore_ascii_case("_PARTITIONDATE").then_some(Self::PartitionTime))
    }
}

/// What an item of the SELECT list computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Plain(Column),
    Lower(Column),
    UnixMicros(Column),
    UnixMillis(Column),
    Now,
    Count,
}

/// What a column must be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// One of some texts.
    Among { column: Column, lower: bool, among: Vec<String> },
    /// Between two texts, or one of them.
    Between { column: Column, from: String, to: String },
    /// With none of some texts at a place, which is counted from 0.
    Without { column: Column, at: usize, len: usize, among: Vec<String> },
    /// With one of some texts at a place, which is counted from 0, in lower case.
    Part { column: Column, at: usize, len: usize, among: HashSet<String> },
    /// With one of some texts as the group of a match.
    Matched { column: Column, lower: bool, pattern: Pattern, among: HashSet<String> },
    /// With one of some texts somewhere in it.
    Holds { column: Column, lower: bool, texts: Vec<String> },
    /// As all tests of one of several lists say.
    Any(Vec<Vec<Test>>),
}

impl Test {
    /// Whether a row passes, of which `text` gives the columns. NULL passes nothing.
    pub(super) fn holds<'a>(&self, text: &impl Fn(Column) -> Option<&'a str>) -> bool {
        match self {
            Self::Among { column, lower, among } => text(*column).is_some_and(|value| {
                let value = if *lower { value.to_lowercase() } else { value.to_owned() };
                among.contains(&value)
            }),
            Self::Between { column, from, to } => {
                text(*column).is_some_and(|value| from.as_str() <= value && value <= to.as_str())
            }
            Self::Without { column, at, len, among } => text(*column).is_some_and(|value| {
                let part: String = value.chars().skip(*at).take(*len).collect();
                !among.contains(&part)
            }),
            Self::Part { column, at, len, among } => text(*column).is_some_and(|value| {
                let part: String = value.chars().skip(*at).take(*len).collect();
                among.contains(&part.to_lowercase())
            }),
            Self::Matched { column, lower, pattern, among } => text(*column).is_some_and(|value| {
                let value = if *lower { value.to_lowercase() } else { value.to_owned() };
                pattern.groups(&value).iter().any(|group| among.contains(group))
            }),
            Self::Holds { column, lower, texts } => text(*column).is_some_and(|value| {
                let value = if *lower { value.to_lowercase() } else { value.to_owned() };
                texts.iter().any(|text| value.contains(text))
            }),
            Self::Any(lists) => lists.iter().any(|tests| tests.iter().all(|test| test.holds(text))),
        }
    }
}

/// Which rows the conditions on the partition let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Partition {
    /// No condition: every row, and every old partition is read.
    Unbounded,
    /// Rows that have a partition.
    Flushed,
    /// Rows in the streaming buffer only.
    Buffered,
    /// Both.
    Either,
}

#[derive(Debug)]
pub(super) struct Select {
    pub table: String,
    pub items: Vec<(String, Item)>,
    pub tests: Vec<Test>,
    pub partition: Partition,
    pub columns: Vec<Column>,
    pub limit: Option<usize>,
    pub distinct: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Text(String),
    Parameter(String),
    Mark(char),
}

impl Token {
    fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(found) if found.eq_ignore_ascii_case(word))
    }
}

/// Names of parameters with their values; a single text is an array of one.
pub(super) type Parameters = HashMap<String, Vec<String>>;

/// Reads a query, of which a UNION ALL has several parts.
///
/// # Errors
/// The message that BigQuery's `invalidQuery` would carry.
pub(super) fn parse(query: &str, parameters: &Parameters) -> Result<Vec<Select>, String> {
    let mut parts = Vec::new();
    for (nth, part) in split(&tokens(query)?, "UNION").into_iter().enumerate() {
        let part = match part.split_first() {
            Some((all, rest)) if nth > 0 && all.is("ALL") => rest,
            None | Some(_) if nth > 0 => return Err("Syntax error: Expected keyword ALL".to_owned()),
            None | Some(_) => &part[..],
        };
        parts.push(select(part, parameters)?);
    }
    let items = |select: &Select| select.items.iter().map(|(_, item)| *item).collect::<Vec<_>>();
    if parts.windows(2).any(|pair| items(&pair[0]) != items(&pair[1])) {
        return Err("Queries in UNION ALL have mismatched columns here".to_owned());
    }
    Ok(parts)
}

fn select(tokens: &[Token], parameters: &Parameters) -> Result<Select, String> {
    let at = |word: &str| tokens.iter().position(|token| token.is(word));
    if !tokens.first().is_some_and(|token| token.is("SELECT")) {
        return Err("Syntax error: Expected keyword SELECT".to_owned());
    }
    let from = at("FROM").ok_or("Syntax error: Expected keyword FROM")?;
    let end = ["ORDER", "LIMIT"].iter().filter_map(|word| at(word)).min().unwrap_or(tokens.len());
    let filter = at("WHERE").unwrap_or(end);
    if filter <= from || end < filter {
        return Err("Syntax error: clauses are out of order".to_owned());
    }
    let (table, alias) = table(&tokens[from + 1..filter])?;
    let mut columns = Vec::new();
    let distinct = tokens.get(1).is_some_and(|token| token.is("DISTINCT"));
    let items = items(&tokens[1 + usize::from(distinct)..from], &alias, &mut columns)?;
    let mut select = Select {
        table,
        items,
        tests: Vec::new(),
        partition: Partition::Unbounded,
        columns,
        limit: None,
        distinct,
    };
    if filter < end {
        for condition in split(&tokens[filter + 1..end], "AND") {
            select.restrict(&condition, &alias, parameters)?;
        }
    }
    if let Some(limit) = at("LIMIT") {
        let Some(Token::Word(number)) = tokens.get(limit + 1) else {
            return Err("Syntax error: Expected integer after LIMIT".to_owned());
        };
        select.limit =
            Some(number.parse().map_err(|_| "Syntax error: Expected integer after LIMIT".to_owned())?);
    }
    Ok(select)
}

fn tokens(query: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut letters = query.chars().peekable();
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    while let Some(letter) = letters.next() {
        let mut until = |mark: char| -> Result<String, String> {
            let mut text = String::new();
            loop {
                match letters.next() {
                    Some(end) if end == mark => return Ok(text),
                    Some(other) => text.push(other),
                    None => {
                        return Err("Syntax error: Unclosed string literal or identifier".to_owned());
                    }
                }
            }
        };
        match letter {
            '`' => found.push(Token::Quoted(until('`')?)),
            '\'' | '"' => found.push(Token::Text(until(letter)?)),
            '@' => {
                let mut name = String::new();
                while let Some(next) = letters.next_if(|next| is_word(*next)) {
                    name.push(next);
                }
                found.push(Token::Parameter(name));
            }
            letter if is_word(letter) => {
                let mut word = String::from(letter);
                while let Some(next) = letters.next_if(|next| is_word(*next)) {
                    word.push(next);
                }
                found.push(Token::Word(word));
            }
            letter if letter.is_whitespace() || letter == ';' => {}
            mark => found.push(Token::Mark(mark)),
        }
    }
    Ok(found)
}

/// Splits at a word or a mark outside of parentheses.
fn split(tokens: &[Token], at: &str) -> Vec<Vec<Token>> {
    let mut parts: Vec<Vec<Token>> = vec![Vec::new()];
    let mut depth = 0_usize;
    for token in tokens {
        match token {
            Token::Mark('(') => depth += 1,
            Token::Mark(')') => depth = depth.saturating_sub(1),
            Token::Word(_) | Token::Quoted(_) | Token::Text(_) | Token::Parameter(_) | Token::Mark(_) => {}
        }
        // `BETWEEN a AND b` is one condition.
        let between =
            parts.last().is_some_and(|part| part.iter().rev().nth(1).is_some_and(|it| it.is("BETWEEN")));
        let splits = token.is(at) && !(between && at == "AND")
            || matches!(token, Token::Mark(mark) if at == mark.to_string());
        match parts.last_mut() {
            Some(last) if !(splits && depth == 0) => last.push(token.clone()),
            _ => parts.push(Vec::new()),
        }
    }
    parts
}

fn table(tokens: &[Token]) -> Result<(String, Option<String>), String> {
    let mut name = String::new();
    let mut rest = tokens;
    while let Some((first, tail)) = rest.split_first() {
        match first {
            Token::Quoted(part) | Token::Word(part) if name.is_empty() || name.ends_with('.') => {
                name.push_str(part)
            }
            Token::Mark('.') => name.push('.'),
            // A project's name may have dashes even without quotes.
            Token::Mark('-') => name.push_str("-."),
            _ => break,
        }
        rest = tail;
    }
    let name = name.replace("-.", "-");
    let alias = match rest {
        [] => None,
        [Token::Word(alias)] => Some(alias.clone()),
        [as_word, Token::Word(alias)] if as_word.is("AS") => Some(alias.clone()),
        _ => return Err("Syntax error: only one table can be read here".to_owned()),
    };
    if name.is_empty() { Err("Syntax error: Expected a table name".to_owned()) } else { Ok((name, alias)) }
}

/// A column, maybe with the table's alias before it.
fn column(tokens: &[Token], alias: &Option<String>) -> Result<Column, String> {
    let name = match tokens {
        [Token::Word(name) | Token::Quoted(name)] => name,
        [Token::Word(table), Token::Mark('.'), Token::Word(name) | Token::Quoted(name)]
            if Some(table) == alias.as_ref() =>
        {
            name
        }
        _ => {
            return Err(format!("Syntax error: not understood here: {}", printed(tokens)));
        }
    };
    Column::parse(name).ok_or_else(|| format!("Unrecognized name: {name}"))
}

fn printed(tokens: &[Token]) -> String {
    let texts = tokens.iter().map(|token| match token {
        Token::Word(text) | Token::Quoted(text) => text.clone(),
        Token::Text(text) => format!("'{text}'"),
        Token::Parameter(name) => format!("@{name}"),
        Token::Mark(mark) => mark.to_string(),
    });
    texts.collect::<Vec<_>>().join(" ")
}

/// The function and its arguments, if the tokens are a call.
fn function(tokens: &[Token]) -> Option<(String, &[Token])> {
    match tokens {
        [Token::Word(name), Token::Mark('('), arguments @ .., Token::Mark(')')] => {
            Some((name.to_ascii_uppercase(), arguments))
        }
        _ => None,
    }
}

fn items(
    tokens: &[Token],
    alias: &Option<String>,
    used: &mut Vec<Column>,
) -> Result<Vec<(String, Item)>, String> {
    if tokens == [Token::Mark('*')] {
        used.extend(Column::SHOWN);
        return Ok(Column::SHOWN
            .iter()
            .map(|column| (column.name().to_owned(), Item::Plain(*column)))
            .collect());
    }
    let mut found = Vec::new();
    for (place, part) in split(tokens, ",").into_iter().enumerate() {
        let (body, name) = match part.as_slice() {
            [body @ .., word, Token::Word(name) | Token::Quoted(name)] if word.is("AS") => {
                (body, Some(name.clone()))
            }
            [body @ .., Token::Word(name)]
                if matches!(body.last(), Some(Token::Word(_) | Token::Mark(')'))) =>
            {
                (body, Some(name.clone()))
            }
            body => (body, None),
        };
        let mut of = |arguments: &[Token]| column(arguments, alias).inspect(|column| used.push(*column));
        let item = match function(body) {
            None => Item::Plain(of(body)?),
            Some((function, arguments)) => match function.as_str() {
                "LOWER" => Item::Lower(of(arguments)?),
                "UNIX_MICROS" => Item::UnixMicros(of(arguments)?),
                "UNIX_MILLIS" => Item::UnixMillis(of(arguments)?),
                "CURRENT_TIMESTAMP" if arguments.is_empty() => Item::Now,
                "COUNT" if arguments == [Token::Mark('*')] => Item::Count,
                _ => return Err(format!("Function not found here: {function}")),
            },
        };
        let default = match item {
            Item::Plain(column) => column.name().to_owned(),
            Item::Lower(_) | Item::UnixMicros(_) | Item::UnixMillis(_) | Item::Now | Item::Count => {
                format!("f{place}_")
            }
        };
        found.push((name.unwrap_or(default), item));
    }
    if found.iter().any(|(_, item)| *item == Item::Count) && found.len() > 1 {
        return Err(
            "SELECT list expression references a column which is neither grouped nor aggregated".to_owned()
        );
    }
    Ok(found)
}

impl Select {
    /// Adds one condition of the WHERE clause.
    fn restrict(
        &mut self,
        condition: &[Token],
        alias: &Option<String>,
        parameters: &Parameters,
    ) -> Result<(), String> {
        // Parentheses round the whole condition mean nothing.
        if let [Token::Mark('('), inner @ .., Token::Mark(')')] = condition
            && balanced(inner)
        {
            return split(inner, "AND").iter().try_for_each(|part| self.restrict(part, alias, parameters));
        }
        let names = condition.iter().enumerate().filter_map(|(place, token)| match token {
            Token::Word(name) | Token::Quoted(name)
                if !matches!(condition.get(place + 1), Some(Token::Mark('('))) =>
            {
                Column::parse(name)
            }
            _ => None,
        });
        let named: Vec<Column> = names.collect();
        self.columns.extend(&named);
        if named.contains(&Column::PartitionTime) {
            if named.iter().any(|column| *column != Column::PartitionTime) {
                return Err(format!("Condition not understood here: {}", printed(condition)));
            }
            let nulls = condition.windows(3).any(is_null);
            let admits = match (nulls, split(condition, "OR").len() > 1) {
                (true, true) => Partition::Either,
                (true, false) => Partition::Buffered,
                (false, _) => Partition::Flushed,
            };
            self.partition = match (self.partition, admits) {
                (Partition::Unbounded | Partition::Either, new) => new,
                (old @ (Partition::Flushed | Partition::Buffered), _) => old,
            };
            return Ok(());
        }
        if !named.is_empty() && named.iter().all(|column| *column == Column::IngestTime) {
            for token in condition {
                if let Token::Parameter(name) = token {
                    parameter(parameters, name)?;
                }
            }
            return Ok(());
        }
        self.tests.push(test(condition, alias, parameters)?);
        Ok(())
    }
}

/// Reads a condition on texts.
fn test(condition: &[Token], alias: &Option<String>, parameters: &Parameters) -> Result<Test, String> {
    if let [Token::Mark('('), inner @ .., Token::Mark(')')] = condition
        && balanced(inner)
    {
        return any(inner, alias, parameters);
    }
    if split(condition, "OR").len() > 1 {
        return any(condition, alias, parameters);
    }
    if let [left @ .., between, Token::Text(from), and, Token::Text(to)] = condition
        && between.is("BETWEEN")
        && and.is("AND")
    {
        let (column, from, to) = (column(left, alias)?, from.clone(), to.clone());
        return Ok(Test::Between { column, from, to });
    }
    if let Some(test) = holds(condition, alias, parameters)? {
        return Ok(test);
    }
    let not_understood = || Err(format!("Condition not understood here: {}", printed(condition)));
    let Some(place) = condition.iter().position(|token| token.is("IN") || *token == Token::Mark('=')) else {
        return not_understood();
    };
    let (left, right) = (&condition[..place], &condition[place + 1..]);
    if let Some((name, part)) = function(left)
        && name == "LOWER"
        && let Some((of, at, len)) = part_of(part)
        && let Some(among) = parts_of(right, parameters)?
    {
        return Ok(Test::Part { column: column(&of, alias)?, at, len, among });
    }
    if let [left @ .., not] = left
        && not.is("NOT")
        && let Some((of, at, len)) = part_of(left)
        && let [Token::Mark('('), list @ .., Token::Mark(')')] = right
    {
        let texts = list.iter().filter_map(|token| match token {
            Token::Text(text) => Some(text.clone()),
            Token::Word(_) | Token::Quoted(_) | Token::Parameter(_) | Token::Mark(_) => None,
        });
        return Ok(Test::Without { column: column(&of, alias)?, at, len, among: texts.collect() });
    }
    let among = match right {
        [word, Token::Mark('('), Token::Parameter(name), Token::Mark(')')] if word.is("UNNEST") => {
            parameter(parameters, name)?
        }
        [Token::Parameter(name)] => parameter(parameters, name)?,
        [Token::Text(text)] => vec![text.clone()],
        _ => return not_understood(),
    };
    let (lower, column) = cased(left, alias)?;
    Ok(Test::Among { column, lower, among })
}

/// What `SUBSTR(column, n, n)` is a part of, from where, which is counted from 0, and how long.
fn part_of(tokens: &[Token]) -> Option<(Vec<Token>, usize, usize)> {
    let (name, arguments) = function(tokens)?;
    let arguments = split(arguments, ",");
    let [of, at, len] = arguments.as_slice() else { return None };
    let ([Token::Word(at)], [Token::Word(len)]) = (at.as_slice(), len.as_slice()) else { return None };
    let at = at.parse::<usize>().ok()?.checked_sub(1)?;
    (name == "SUBSTR").then_some((of.clone(), at, len.parse().ok()?))
}

/// The texts of `UNNEST(SPLIT(@text, ','))`, if it is that.
fn parts_of(tokens: &[Token], parameters: &Parameters) -> Result<Option<HashSet<String>>, String> {
    let Some((unnest, array)) = function(tokens) else { return Ok(None) };
    let Some((split, arguments)) = function(array) else { return Ok(None) };
    let [Token::Parameter(name), Token::Mark(','), Token::Text(by)] = arguments else { return Ok(None) };
    if unnest != "UNNEST" || split != "SPLIT" {
        return Ok(None);
    }
    let texts = parameter(parameters, name)?;
    Ok(Some(texts.iter().flat_map(|text| text.split(by.as_str())).map(str::to_owned).collect()))
}

/// A column, and whether it is read in lower case.
fn cased(tokens: &[Token], alias: &Option<String>) -> Result<(bool, Column), String> {
    match function(tokens) {
        Some((function, arguments)) if function == "LOWER" => Ok((true, column(arguments, alias)?)),
        _ => Ok((false, column(tokens, alias)?)),
    }
}

/// Reads a condition on what stands inside a text, if it is one.
fn holds(
    condition: &[Token],
    alias: &Option<String>,
    parameters: &Parameters,
) -> Result<Option<Test>, String> {
    if let Some((name, query)) = function(condition)
        && name == "EXISTS"
        && let [
            select,
            _,
            from,
            unnest,
            Token::Mark('('),
            Token::Parameter(array),
            Token::Mark(')'),
            rest @ ..,
        ] = query
        && select.is("SELECT")
        && from.is("FROM")
        && unnest.is("UNNEST")
        && let [as_word, Token::Word(element), filter, inner @ ..] = rest
        && as_word.is("AS")
        && filter.is("WHERE")
        && let Some((text, Token::Word(sought))) = position(inner)
        && sought == element
    {
        let (lower, column) = cased(text, alias)?;
        return Ok(Some(Test::Holds { column, lower, texts: parameter(parameters, array)? }));
    }
    if let Some(test) = matched(condition, alias, parameters)? {
        return Ok(Some(test));
    }
    match position(condition) {
        Some((text, Token::Text(sought))) => {
            let (lower, column) = cased(text, alias)?;
            Ok(Some(Test::Holds { column, lower, texts: vec![sought.clone()] }))
        }
        Some(_) | None => Ok(None),
    }
}

/// Reads a condition on what matches a pattern inside a text, if it is one.
fn matched(
    condition: &[Token],
    alias: &Option<String>,
    parameters: &Parameters,
) -> Result<Option<Test>, String> {
    if let Some((name, [select, _, from, rest @ ..])) = function(condition)
        && name == "EXISTS"
        && select.is("SELECT")
        && from.is("FROM")
        && let Some(place) = rest.iter().position(|token| token.is("AS"))
        && let Some((unnest, all)) = function(&rest[..place])
        && unnest == "UNNEST"
        && let Some((extract, [text @ .., Token::Mark(','), Token::Text(pattern)])) = function(all)
        && extract == "REGEXP_EXTRACT_ALL"
        && let [_, Token::Word(element), filter, Token::Word(sought), is_in, array @ ..] = &rest[place..]
        && filter.is("WHERE")
        && sought == element
        && is_in.is("IN")
        && let Some(among) = parts_of(array, parameters)?
    {
        let (lower, column) = cased(text, alias)?;
        return Ok(Some(Test::Matched { column, lower, pattern: Pattern::parse(pattern)?, among }));
    }
    Ok(None)
}

/// The two arguments of `STRPOS(text, sought) > 0`.
fn position(tokens: &[Token]) -> Option<(&[Token], &Token)> {
    let [call @ .., Token::Mark('>'), Token::Word(zero)] = tokens else { return None };
    let (name, arguments) = function(call)?;
    let [text @ .., Token::Mark(','), sought] = arguments else { return None };
    (name == "STRPOS" && zero == "0").then_some((text, sought))
}

fn any(tokens: &[Token], alias: &Option<String>, parameters: &Parameters) -> Result<Test, String> {
    let all = |part: &Vec<Token>| {
        split(part, "AND").iter().map(|part| test(part, alias, parameters)).collect::<Result<Vec<_>, _>>()
    };
    Ok(Test::Any(split(tokens, "OR").iter().map(all).collect::<Result<_, _>>()?))
}

fn is_null(three: &[Token]) -> bool {
    matches!(three, [Token::Word(name), is, null]
        if Column::parse(name) == Some(Column::PartitionTime) && is.is("IS") && null.is("NULL"))
}

fn balanced(tokens: &[Token]) -> bool {
    let mut depth = 0_i32;
    let never_below = tokens.iter().all(|token| {
        depth += i32::from(*token == Token::Mark('(')) - i32::from(*token == Token::Mark(')'));
        depth >= 0
    });
    never_below && depth == 0
}

fn parameter(parameters: &Parameters, name: &str) -> Result<Vec<String>, String> {
    parameters.get(name).cloned().ok_or_else(|| format!("Query parameter '{name}' not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Select, String> {
        let parameters = Parameters::from([("ids".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
        parse(query, &parameters).map(|mut parts| parts.remove(0))
    }

    #[test]
    fn the_probes_kind_of_query_is_understood() {
        let select = read(
            "SELECT trace_id, UNIX_MICROS(t.ingest_time) AS at, tenant FROM `demo.logs.events` AS t \
             WHERE t.trace_id IN UNNEST(@ids) AND (_PARTITIONTIME >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 2 DAY) \
             OR _PARTITIONTIME IS NULL) AND ingest_time >= TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 HOUR) LIMIT 10",
        );
        let select = select.unwrap();
        assert_eq!(select.table, "demo.logs.events");
        assert_eq!(select.items[1], ("at".to_owned(), Item::UnixMicros(Column::IngestTime)));
        assert_eq!(
            select.tests,
            [Test::Among { column: Column::TraceId, lower: false, among: vec!["a".into(), "b".into()] }]
        );
        assert_eq!(select.partition, Partition::Either);
        assert_eq!(select.limit, Some(10));
    }

    #[test]
    fn a_partition_condition_admits_null_only_when_it_says_so() {
        let of = |condition: &str| {
            read(&format!("SELECT trace_id FROM demo.logs.events WHERE {condition}")).unwrap().partition
        };
        assert_eq!(of("trace_id IN UNNEST(@ids)"), Partition::Unbounded);
        assert_eq!(of("_PARTITIONTIME >= CURRENT_TIMESTAMP()"), Partition::Flushed);
        assert_eq!(of("_PARTITIONTIME IS NULL"), Partition::Buffered);
        assert_eq!(of("_PARTITIONTIME IS NOT NULL"), Partition::Flushed);
        assert_eq!(of("(_PARTITIONDATE = '2026-11-22' OR _PARTITIONDATE IS NULL)"), Partition::Either);
    }

    #[test]
    fn a_range_without_some_is_one_of_several_ways_in() {
        let select = read(
            "SELECT trace_id FROM demo.logs.events WHERE (trace_id IN UNNEST(@ids) \
             OR (trace_id BETWEEN 'k' AND 'kz' AND SUBSTR(trace_id, 3, 2) NOT IN ('xx', 'yy'))) \
             AND (_PARTITIONTIME IS NULL)",
        )
        .unwrap();
        assert_eq!(select.partition, Partition::Buffered);
        let admits = |text: Option<&'static str>| select.tests.iter().all(|test| test.holds(&|_| text));
        for (text, admitted) in
            [("a", true), ("c", false), ("k1zz", true), ("k1xx", false), ("k1yy", false), ("l1zz", false)]
        {
            assert_eq!(admits(Some(text)), admitted, "{text}");
        }
        assert!(!admits(None));
    }

    #[test]
    fn a_bound_on_the_time_column_is_accepted_and_not_evaluated() {
        for condition in
            ["ingest_time >= @ids", "t.ingest_time > '2026-01-01'", "(ingest_time < CURRENT_TIMESTAMP())"]
        {
            let select = read(&format!("SELECT trace_id FROM demo.logs.events t WHERE {condition}")).unwrap();
            assert_eq!((select.tests.len(), select.partition), (0, Partition::Unbounded), "{condition}");
            assert!(select.columns.contains(&Column::IngestTime));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert!(read("DELETE FROM demo.logs.events WHERE true").is_err());
        assert_eq!(read("SELECT id FROM demo.logs.events").unwrap_err(), "Unrecognized name: id");
        assert!(read("SELECT trace_id FROM a.b.c, d.e.f").is_err());
        assert!(
            read("SELECT trace_id FROM a.b.c WHERE _PARTITIONTIME IS NULL OR trace_id IN UNNEST(@ids)")
                .is_err()
        );
        assert!(read("SELECT trace_id FROM a.b.c WHERE tenant != 'acme'").is_err());
        assert!(read("SELECT trace_id FROM a.b.c WHERE message LIKE '%x%'").is_err());
        assert_eq!(
            read("SELECT trace_id FROM a.b.c WHERE trace_id IN UNNEST(@other)").unwrap_err(),
            "Query parameter 'other' not found"
        );
    }

    #[test]
    fn a_dashed_project_needs_no_quotes() {
        assert_eq!(read("SELECT * FROM my-project.logs.events").unwrap().table, "my-project.logs.events");
    }

    #[test]
    fn a_text_holds_the_marker_and_one_of_the_ids() {
        let select = read(
            "SELECT message AS probe_id FROM demo.logs.events WHERE STRPOS(LOWER(`message`), 'zq') > 0 \
             AND EXISTS(SELECT 1 FROM UNNEST(@ids) AS id WHERE STRPOS(LOWER(`message`), id) > 0)",
        )
        .unwrap();
        let admits = |text: &'static str| select.tests.iter().all(|test| test.holds(&|_| Some(text)));
        assert!(admits("INFO ZQ B"));
        assert!(!admits("INFO ZQ C"));
        assert!(!admits("INFO B"));
    }

    #[test]
    fn a_range_is_narrowed_by_the_ends_of_ids() {
        let parameters = Parameters::from([("ends".to_owned(), vec!["07,0a".to_owned()])]);
        let select = parse(
            "SELECT trace_id FROM demo.logs.events WHERE ((trace_id BETWEEN 'k1' AND 'k5z' \
             OR trace_id BETWEEN 'K1' AND 'K5Z') AND LOWER(SUBSTR(trace_id, 3, 2)) IN UNNEST(SPLIT(@ends, ',')))",
            &parameters,
        );
        let select = select.unwrap().remove(0);
        let admits = |text: &'static str| select.tests.iter().all(|test| test.holds(&|_| Some(text)));
        for (text, admitted) in
            [("k107rest", true), ("K50AREST", true), ("k109", false), ("k607", false), ("k", false)]
        {
            assert_eq!(admits(text), admitted, "{text}");
        }
    }

    #[test]
    fn a_text_holds_a_match_of_a_pattern() {
        let parameters = Parameters::from([("ends".to_owned(), vec!["07,0a".to_owned()])]);
        let select = parse(
            "SELECT message AS probe_id FROM demo.logs.events WHERE STRPOS(LOWER(`message`), 'zq') > 0 \
             AND EXISTS(SELECT 1 FROM UNNEST(REGEXP_EXTRACT_ALL(LOWER(`message`), 'zq[12]([0-9a-f]{2})')) AS part \
             WHERE part IN UNNEST(SPLIT(@ends, ',')))",
            &parameters,
        );
        let select = select.unwrap().remove(0);
        let admits = |text: &'static str| select.tests.iter().all(|test| test.holds(&|_| Some(text)));
        assert!(admits("first zq1ff, then ZQ20A."));
        assert!(!admits("zq3 07 zq1ff"));
    }

    #[test]
    fn a_union_has_a_part_for_each_table() {
        let parts = parse(
            "SELECT trace_id FROM a.b.c_1 WHERE tenant = 'x' UNION ALL SELECT trace_id FROM a.b.c_2",
            &Parameters::new(),
        );
        let tables: Vec<_> = parts.unwrap().into_iter().map(|part| part.table).collect();
        assert_eq!(tables, ["a.b.c_1", "a.b.c_2"]);
        for wrong in [
            "SELECT trace_id FROM a.b.c UNION SELECT trace_id FROM a.b.c",
            "SELECT trace_id FROM a.b.c UNION ALL SELECT tenant FROM a.b.c",
        ] {
            assert!(parse(wrong, &Parameters::new()).is_err(), "{wrong}");
        }
    }
}
