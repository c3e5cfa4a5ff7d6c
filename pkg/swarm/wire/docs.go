package wire

// ExtDocs is the name of the extension by which distd peers give each other the
// documents of a release: one blob that says nothing here, in messages of the
// form of BEP 9. Who has it, or asks for it, gives it a number in the handshake.
const ExtDocs = "distd_docs"

// DefaultMaxDocs is the most that the blob may have where nothing else is said,
// in bytes.
const DefaultMaxDocs = 64 << 20

// DecodeDocs is DecodeMetadata for a message of ExtDocs. limit is the most bytes
// that the blob may have; 0 means DefaultMaxDocs.
func DecodeDocs(b []byte, limit int64) (*MetadataMsg, error) {
	if limit <= 0 {
		limit = DefaultMaxDocs
	}
	return decodeParts(b, "documents", min(limit, 1<<40))
}
