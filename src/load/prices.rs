//! List prices, from a file that users can edit.

use toml::{Table, Value};

use crate::keys::fault::{Collector, Faults, suggestion};
use crate::keys::value::{self, quoted};

/// The file that is compiled in.
pub const SHIPPED: &str = include_str!("../../config/load/prices.toml");

/// What has a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    LogsIngest,
    KinesisPut,
    KinesisShard,
    LambdaRequest,
    LambdaCompute,
    S3Put,
    S3Get,
    Egress,
    BigqueryInsert,
}

impl Item {
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::LogsIngest, "logs_ingest"),
        (Self::KinesisPut, "kinesis_put"),
        (Self::KinesisShard, "kinesis_shard"),
        (Self::LambdaRequest, "lambda_request"),
        (Self::LambdaCompute, "lambda_compute"),
        (Self::S3Put, "s3_put"),
        (Self::S3Get, "s3_get"),
        (Self::Egress, "egress"),
        (Self::BigqueryInsert, "bigquery_insert"),
    ];
}

/// A price.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    pub dollars: f64,
    /// Of what it is the price: `GB put into a log group`.
    pub per: String,
    pub source: String,
}

/// All prices, in the order of [`Item::ALL`].
#[derive(Clone, Debug, PartialEq)]
pub struct Prices(Vec<Price>);

impl Prices {
    /// Reads a file of prices.
    ///
    /// # Errors
    ///
    /// Every fault.
    pub fn parse(file: &str, text: &str) -> Result<Self, Faults> {
        let mut faults = Collector::default();
        let table = text.parse::<Table>().unwrap_or_else(|error| {
            faults.report(file, format!("is not valid TOML: {}", error.to_string().trim_end()));
            Table::new()
        });
        for name in table.keys().filter(|name| !Item::ALL.iter().any(|(_, known)| known == name)) {
            let near = suggestion(name, Item::ALL.iter().map(|(_, known)| *known));
            faults.report(name.clone(), format!("unknown price{near}"));
        }
        let prices = Item::ALL.iter().filter_map(|(_, name)| {
            let Some(of) = table.get(*name).and_then(Value::as_table) else {
                faults.report(*name, "missing; copy it from config/load/prices.toml");
                return None;
            };
            let dollars = of
                .get("dollars")
                .and_then(|given| given.as_float().or_else(|| given.as_integer().map(|whole| whole as f64)));
            let Some(dollars) = dollars.filter(|dollars| (0.0..1e6).contains(dollars)) else {
                let given = of.get("dollars").map_or_else(|| "nothing".to_owned(), quoted);
                faults.report(
                    format!("{name}.dollars"),
                    format!("{given} is not a valid price; write for example 0.05"),
                );
                return None;
            };
            let mut text = |key: &str| match of.get(key).map(value::text) {
                Some(Ok(text)) => text,
                Some(Err(message)) => {
                    faults.report(format!("{name}.{key}"), message);
                    String::new()
                }
                None => String::new(),
            };
            Some(Price { dollars, per: text("per"), source: text("source") })
        });
        let prices: Vec<_> = prices.collect();
        if faults.is_empty() {
            Ok(Self(prices))
        } else {
            Err(Faults { file: file.to_owned(), list: faults.list() })
        }
    }

    /// The price of an item.
    #[must_use]
    pub fn of(&self, item: Item) -> &Price {
        static NONE: Price = Price { dollars: 0.0, per: String::new(), source: String::new() };
        let at = Item::ALL.iter().position(|(known, _)| *known == item).unwrap_or_default();
        self.0.get(at).unwrap_or(&NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_prices_are_complete_and_name_their_sources() {
        let prices = Prices::parse("prices.toml", SHIPPED).unwrap_or_else(|faults| panic!("{faults}"));
        for (item, name) in Item::ALL {
            let price = prices.of(item);
            assert!(price.dollars > 0.0 && !price.per.is_empty(), "{name}");
            assert!(price.source.starts_with("https://"), "{name}");
        }
    }

    #[test]
    fn a_faulty_price_is_reported_by_its_key() {
        let text = SHIPPED.replace("dollars = 0.015", "dollars = \"cheap\"").replace("[s3_get]", "[s3_gets]");
        let faults = Prices::parse("own.toml", &text).unwrap_err().to_string();
        assert!(faults.contains("kinesis_shard.dollars: \"cheap\" is not a valid price"), "{faults}");
        assert!(faults.contains("s3_gets: unknown price; did you mean `s3_get`?"), "{faults}");
        assert!(faults.contains("s3_get: missing"), "{faults}");
    }
}
