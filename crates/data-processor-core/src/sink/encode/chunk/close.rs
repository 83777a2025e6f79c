//! The end of a column chunk: its dictionary page, and what the footer says about it.

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::Page;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::ColumnChunkMetaData;

use super::super::super::bounds::Extent;
use super::super::super::footer;
use super::super::parts::{Parts, spelled};
use super::super::press::Press;
use super::{ChunkWriter, failed};
use crate::error::Result;

impl ChunkWriter {
    fn dictionary_page(&self, press: &mut Press) -> Result<(Bytes, usize)> {
        let (mut body, mut pressed) = std::mem::take(&mut press.room);
        body.clear();
        self.dictionary.spell_all(self.width, &mut body);
        press.press(&body, &mut pressed)?;
        let num_values = self.dictionary.len() as u32;
        let page = |buf| Page::DictionaryPage { buf, num_values, encoding: Encoding::PLAIN, is_sorted: false };
        let (page, uncompressed, pressed) = spelled(page, body.len(), pressed).map_err(failed)?;
        press.room = (body, pressed);
        Ok((page, uncompressed))
    }

    /// The finished chunk: its pages, what the footer says about it, what was seen of its values.
    pub fn close(mut self, press: &mut Press) -> Result<(Parts, ColumnCloseResult, Extent)> {
        self.flush_page(press)?;
        let mut parts = std::mem::take(&mut self.parts);
        let (mut data_at, dictionary) = (0, self.dictionary.len() > 0);
        if dictionary {
            let edges = self.dictionary.edges(&self.kind, self.physical);
            self.extent.join(edges);
            let (page, uncompressed) = self.dictionary_page(press)?;
            data_at = page.len() as i64;
            parts.put_first(page);
            self.uncompressed += uncompressed;
            if !self.encodings.contains(&Encoding::PLAIN) {
                self.encodings.push(Encoding::PLAIN);
            }
        }
        let length = parts.bytes();
        let metadata = self.metadata(press, dictionary, data_at, length).map_err(failed)?;
        let close = ColumnCloseResult {
            bytes_written: length as u64,
            rows_written: self.total_rows,
            metadata,
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        Ok((parts, close, self.extent))
    }

    fn metadata(&mut self, press: &Press, dictionary: bool, data_at: i64, length: usize) -> ParquetResult<ColumnChunkMetaData> {
        ColumnChunkMetaData::builder(self.descriptor.clone())
            .set_encodings(std::mem::take(&mut self.encodings))
            .set_compression(press.codec().parquet())
            .set_num_values(self.total_rows as i64)
            .set_total_compressed_size(length as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_data_page_offset(data_at)
            .set_dictionary_page_offset(dictionary.then_some(0))
            .set_statistics(footer::statistics(&self.extent, self.physical, self.width, self.nulls))
            .build()
    }
}
