package bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"

	"github.com/minio/minio-go/v7"
)

// explain says what kind of error a request failed with.
func explain(err error) error {
	if err == nil {
		return nil
	}
	var answer minio.ErrorResponse
	if errors.As(err, &answer) {
		return explainAnswer(answer)
	}
	return explainNet(err)
}

// explainAnswer judges an answer of the store. Only its code and message are
// told, which have no secret in them.
func explainAnswer(a minio.ErrorResponse) error {
	err := fmt.Errorf("%s (status %d, %s)", first(a.Message, "no message"), a.StatusCode, first(a.Code, "no code"))
	switch a.Code {
	case "NoSuchBucket":
		return fmt.Errorf("%w: %w", ErrNoBucket, err)
	case "NoSuchKey", "NoSuchUpload":
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case "PreconditionFailed", "ConditionalRequestConflict":
		return fmt.Errorf("%w: %w", ErrConflict, err)
	case "NotImplemented":
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case "RequestTimeout", "SlowDown", "BadDigest", "XAmzContentSHA256Mismatch":
		return &TemporaryError{err}
	}
	switch a.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", ErrConflict, err)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: %w", fs.ErrPermission, err)
	case http.StatusNotImplemented:
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return &TemporaryError{err}
	}
	if a.StatusCode >= 500 {
		return &TemporaryError{err}
	}
	return err
}

// explainNet judges an error without an answer: all pass but those that only
// another setting will mend.
func explainNet(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // the URL is that of the object, which is named already
	}
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.Is(err, context.Canceled), errors.As(err, &cert), errors.As(err, &record), errors.As(err, &authority):
		return err
	case errors.As(err, &dns) && dns.IsNotFound:
		return err
	}
	return &TemporaryError{err}
}
