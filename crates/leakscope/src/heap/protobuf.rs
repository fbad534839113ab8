//! The little of protobuf's wire format that pprof needs.

/// A message under construction.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

impl Message {
    /// A number field; negative ones as their two's complement. 0 is the default and left out.
    pub(super) fn number(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.varint(field << 3 | VARINT);
            self.varint(value);
        }
    }

    /// A string or bytes field.
    pub(super) fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | LENGTH_DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A message in the message.
    pub(super) fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }

    /// A repeated number field.
    pub(super) fn packed(&mut self, field: u64, values: impl IntoIterator<Item = u64>) {
        let mut packed = Self::default();
        values.into_iter().for_each(|value| packed.varint(value));
        self.message(field, &packed);
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    /// An integer; negative ones as their two's complement.
    Number(u64),
    /// A string, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
}

/// A message's fields in order, by number; the error says what is no protobuf.
pub(super) fn fields(mut message: &[u8]) -> Result<Vec<(u64, Value<'_>)>, &'static str> {
    const CUT: &str = "a field is cut short";
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let value = match tag & 7 {
            VARINT => Value::Number(varint(&mut message)?),
            LENGTH_DELIMITED => {
                let length = usize::try_from(varint(&mut message)?).map_err(|_| CUT)?;
                let (value, rest) = message.split_at_checked(length).ok_or(CUT)?;
                message = rest;
                Value::Bytes(value)
            }
            _ => return Err("a field of a type that pprof has none of"),
        };
        fields.push((tag >> 3, value));
    }
    Ok(fields)
}

/// The numbers of a packed field.
pub(super) fn packed(mut field: &[u8]) -> Result<Vec<u64>, &'static str> {
    let mut numbers = Vec::new();
    while !field.is_empty() {
        numbers.push(varint(&mut field)?);
    }
    Ok(numbers)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, &'static str> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or("a number is cut short")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of protobuf.dev/programming-guides/encoding.
    #[test]
    fn encodes_as_the_guide_says() {
        let mut message = Message::default();
        message.number(1, 150);
        assert_eq!(message.into_bytes(), [0x08, 0x96, 0x01]);

        let mut message = Message::default();
        message.bytes(2, b"testing");
        assert_eq!(message.into_bytes(), [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);

        let mut message = Message::default();
        message.packed(6, [3, 270, 86_942]);
        assert_eq!(message.into_bytes(), [0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05]);

        let mut message = Message::default();
        message.number(1, -2i64 as u64);
        assert_eq!(message.into_bytes()[1..], [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }

    #[test]
    fn reads_what_it_writes_and_refuses_the_rest() {
        let mut message = Message::default();
        message.number(1, 150);
        message.number(2, -2i64 as u64);
        message.bytes(3, b"testing");
        message.packed(4, [3, 270, 86_942]);
        let bytes = message.into_bytes();
        let read = fields(&bytes).unwrap();
        let wanted =
            [(1, Value::Number(150)), (2, Value::Number(-2i64 as u64)), (3, Value::Bytes(b"testing"))];
        assert_eq!(read[..3], wanted);
        let (4, Value::Bytes(numbers)) = read[3] else { panic!("{read:?}") };
        assert_eq!(packed(numbers), Ok(vec![3, 270, 86_942]));
        for end in 0..bytes.len() {
            assert!(
                fields(&bytes[..end]).is_ok_and(|fields| fields.len() < read.len())
                    || fields(&bytes[..end]).is_err()
            );
        }
        assert!(fields(&[0x0d, 0, 0, 0, 0]).is_err(), "32 bits");
        assert!(fields(&[0x08, 0x80]).is_err(), "cut");
        assert!(fields(&[0xff; 12]).is_err(), "too long");
        assert!(
            fields(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err(),
            "longer than all"
        );
    }
}
