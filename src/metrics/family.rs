//! A metric family: name, type, unit, labels and help, and how its samples are written.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeMetric, MetricEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;

/// A metric family with `N` labels.
#[derive(Debug)]
pub struct Family<const N: usize> {
    /// Name with its prefix, without unit and `_total`.
    pub name: &'static str,
    /// Unit; the last part of the name.
    pub unit: Option<Unit>,
    /// Type.
    pub kind: MetricType,
    /// Names of its labels.
    pub labels: [&'static str; N],
    /// Help text in one line. It is not escaped, so it must contain no backslash and no line break.
    pub help: &'static str,
}

/// The labels of one series, owned.
pub type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];

/// A family with any number of labels.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name with its prefix, without unit and `_total`.
    pub name: &'static str,
    /// Unit.
    pub unit: Option<&'static Unit>,
    /// Type.
    pub kind: MetricType,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Help text in one line.
    pub help: &'static str,
}

impl<const N: usize> Family<N> {
    /// The family as a row of the table.
    pub const fn row(&'static self) -> Row {
        Row {
            name: self.name,
            unit: self.unit.as_ref(),
            kind: self.kind,
            labels: &self.labels,
            help: self.help,
        }
    }

    /// The labels of one of its series.
    pub fn series(&self, values: [impl Into<Cow<'static, str>>; N]) -> Labels<N> {
        let mut values = values.into_iter();
        self.labels
            .map(|label| (label, values.next().map_or(Cow::Borrowed(""), Into::into)))
    }
}

impl Row {
    /// Name of the samples, as used in PromQL; for a histogram, without `_bucket`.
    pub fn full_name(&self) -> String {
        let unit = self
            .unit
            .map_or_else(String::new, |unit| format!("_{}", unit.as_str()));
        let total = match self.kind {
            MetricType::Counter => "_total",
            _ => "",
        };
        format!("{}{unit}{total}", self.name)
    }
}

/// Writes complete families in the exposition format.
pub struct Encoder<'e>(DescriptorEncoder<'e>);

impl<'e> Encoder<'e> {
    /// Creates an encoder around `encoder`.
    pub fn new(encoder: DescriptorEncoder<'e>) -> Self {
        Self(encoder)
    }

    fn describe<const N: usize>(
        &mut self,
        family: &'static Family<N>,
    ) -> Result<MetricEncoder<'_>, fmt::Error> {
        self.0
            .encode_descriptor(family.name, family.help, family.unit.as_ref(), family.kind)
    }

    /// Writes a family of gauges, with each series given by its label values.
    pub fn gauges<'s, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        family: &'static Family<N>,
        series: impl IntoIterator<Item = ([&'s str; N], V)>,
    ) -> fmt::Result {
        let mut encoder = self.describe(family)?;
        for (values, value) in series {
            let mut values = values.into_iter();
            let labels = family
                .labels
                .map(|label| (label, values.next().unwrap_or_default()));
            encoder.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// Writes a gauge without labels; nothing if there is no value.
    pub fn gauge<V: EncodeGaugeValue>(
        &mut self,
        family: &'static Family<0>,
        value: Option<V>,
    ) -> fmt::Result {
        let mut encoder = self.describe(family)?;
        value.map_or(Ok(()), |value| encoder.encode_gauge(&value))
    }

    /// Writes a counter without labels; nothing if there is no value.
    pub fn counter(&mut self, family: &'static Family<0>, value: Option<f64>) -> fmt::Result {
        let encoder = self.describe(family)?;
        value.map_or(Ok(()), |value| ConstCounter::new(value).encode(encoder))
    }

    /// Writes a family that has its own counter.
    pub fn counted<const N: usize>(
        &mut self,
        family: &'static Family<N>,
        metric: &impl EncodeMetric,
    ) -> fmt::Result {
        metric.encode(self.describe(family)?)
    }
}

/// Defines the table of families: a constant for each, and the [`Row`]s of all by group, whose names share a prefix.
macro_rules! families {
    ($(
        $group:literal: $prefix:literal {
            $( $id:ident: $kind:ident $name:literal $([$unit:ident])? { $($label:ident),* } $help:literal; )+
        }
    )+) => {
        $($(
            #[doc = $help]
            pub static $id: Family<{ <[&str]>::len(&[$(stringify!($label)),*]) }> = Family {
                name: concat!($prefix, $name),
                unit: families!(@unit $($unit)?),
                kind: MetricType::$kind,
                labels: [$(stringify!($label)),*],
                help: $help,
            };
        )+)+

        /// Every family by group, in the order they are written.
        pub static TABLE: &[(&str, &[Row])] = &[$( ($group, &[$($id.row()),+]), )+];
    };
    (@unit) => { None };
    (@unit $unit:ident) => { Some(Unit::$unit) };
}
pub(super) use families;
