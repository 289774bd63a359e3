package child

// What the tests need of the inside.
const (
	MaxLog   = maxLog
	NonceKey = nonceKey
)

var (
	DecodeRun = decodeRun
	Lines     = lines
)
