// main.go - creates a collection, streams rows in, searches them in batches, prints the answers;
// or, with a word for it, writes, deletes or gets single points.
//
// Happy path: "id distance" pairs, one line for each query, on the standard output; progress and
// counts on the standard error; exit status 0.
// Failure modes: one sentence on the standard error and exit status 1. A collection that exists is
// used as it is; rows that it has already are refused one by one, and counted.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "omendb-client-go/omendb/v1"
)

const (
	replyBytesMax = 16 << 20 // 1,024 queries with 1,024 hits each are 12 MiB
	callTimeout   = 30 * time.Second
)

// round_robin matters where the target is dns:///NAME of a headless service: without it one channel
// stays with one address. Unary calls may be tried again; streams are resumed by insert.go.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [{
    "name": [{"service": "omendb.v1.VectorService", "method": "Search"},
      {"service": "omendb.v1.VectorService", "method": "Get"},
      {"service": "omendb.v1.VectorService", "method": "Delete"}],
    "retryPolicy": {"maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "2s",
      "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}
  }]
}`

var writeModes = map[string]pb.WriteMode{
	"insert": pb.WriteMode_WRITE_MODE_INSERT_ONLY,
	"upsert": pb.WriteMode_WRITE_MODE_UPSERT,
	"update": pb.WriteMode_WRITE_MODE_UPDATE_ONLY,
}

type settings struct {
	target, collection, vectors, queries string
	mode, keys, ids                      string
	rows, dim, k, ef                     int
	ttl                                  uint
	firstID                              uint64
	seed                                 int64
}

func main() {
	var s settings
	flag.StringVar(&s.target, "target", "localhost:7420", "server")
	flag.StringVar(&s.collection, "collection", "from-go", "made if it does not exist")
	flag.StringVar(&s.vectors, "vectors", "", "file of little-endian f32 rows; none: random rows")
	flag.StringVar(&s.queries, "queries", "", "file of queries; none: the first 10 rows")
	flag.IntVar(&s.rows, "rows", 10000, "how many random rows")
	flag.IntVar(&s.dim, "dim", 128, "components of a row")
	flag.IntVar(&s.k, "k", 10, "neighbours of a query")
	flag.IntVar(&s.ef, "ef", 100, "size of a search's pool")
	flag.Uint64Var(&s.firstID, "first-id", 0, "id of the first row; the next has the next number")
	flag.StringVar(&s.mode, "mode", "insert", "of an id that exists: insert, upsert or update")
	flag.StringVar(&s.keys, "keys", "", "the ids are keys: this and the number")
	flag.UintVar(&s.ttl, "ttl", 0, "seconds until the rows expire; 0: never")
	flag.StringVar(&s.ids, "ids", "", "of upsert, delete and get: with commas; else keys")
	flag.Int64Var(&s.seed, "seed", 7, "of the random rows")
	flag.Parse()
	if err := run(context.Background(), s, flag.Arg(0)); err != nil {
		fmt.Fprintf(os.Stderr, "failed: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings, what string) error {
	if _, known := writeModes[s.mode]; !known {
		return fmt.Errorf("mode is %q, it must be insert, upsert or update", s.mode)
	}
	connection, err := connect(s.target)
	if err != nil {
		return err
	}
	defer connection.Close()
	client := pb.NewVectorServiceClient(connection)
	if what != "" {
		return single(ctx, client, s, what, os.Stdout)
	}
	rows, queries, err := load(s)
	if err != nil {
		return err
	}
	if err := create(ctx, pb.NewCollectionServiceClient(connection), s); err != nil {
		return err
	}
	in, err := newInsertion(client, s.collection, rows, idMaker{s.keys, s.firstID})
	if err != nil {
		return err
	}
	in.mode, in.ttl = writeModes[s.mode], uint32(s.ttl)
	if err := in.run(ctx); err != nil {
		return err
	}
	found, err := search(ctx, client, s.collection, queries,
		&pb.SearchOptions{K: uint32(s.k), Ef: uint32(s.ef)},
		&pb.ReadToken{Incarnation: in.incarnation, LogPosition: in.position})
	if err != nil {
		return err
	}
	report(in, found)
	return nil
}

// single does one of the calls without a stream.
func single(ctx context.Context, client pb.VectorServiceClient, s settings, what string,
	out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	ids, err := parseIDs(s.ids)
	if err != nil {
		return err
	}
	switch what {
	case "upsert":
		rows, err := readRows(s.vectors, s.dim)
		if err != nil {
			return err
		}
		return upsert(ctx, client, s, rows, ids)
	case "delete":
		return remove(ctx, client, s, ids)
	case "get":
		return get(ctx, client, s, ids, out)
	}
	return fmt.Errorf("%q is none of upsert, delete, get", what)
}

func load(s settings) (rows, queries matrix, err error) {
	if s.dim < 1 {
		return rows, queries, fmt.Errorf("dim is %d, it must be at least 1", s.dim)
	}
	if s.vectors == "" {
		rows = randomRows(s.rows, s.dim, s.seed)
	} else if rows, err = readRows(s.vectors, s.dim); err != nil {
		return rows, queries, err
	}
	if s.queries != "" {
		queries, err = readRows(s.queries, s.dim)
		return rows, queries, err
	}
	count := 10
	if rows.rows() < count {
		count = rows.rows()
	}
	return rows, matrix{s.dim, rows.slice(0, count)}, nil
}

func connect(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient(target,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(replyBytesMax)),
		// The server accepts a ping every 10 s; a lost peer is noticed after 40 s.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second,
			Timeout: 10 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 5 * time.Second,
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6,
				Jitter: 0.2, MaxDelay: 2 * time.Second}}))
}

func create(ctx context.Context, client pb.CollectionServiceClient, s settings) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := client.CreateCollection(ctx, &pb.CreateCollectionRequest{Name: s.collection,
		Config: &pb.CollectionConfig{Dim: uint32(s.dim), Metric: pb.Metric_METRIC_COSINE}})
	if status.Code(err) == codes.AlreadyExists {
		return nil
	}
	return err
}

func report(in *insertion, found [][]hit) {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, hits := range found {
		for i, hit := range hits {
			if i > 0 {
				fmt.Fprint(out, " ")
			}
			fmt.Fprintf(out, "%s %.6f", hit.id, hit.distance)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(os.Stderr, "inserted %d refused %d reconnects %d resent %d drains %d\n",
		in.rows.rows()-len(in.refused), len(in.refused), in.reconnects, in.resent, in.drains)
	if in.forgotten {
		fmt.Fprintln(os.Stderr, "more may have been refused: the server forgot which")
	}
	for _, item := range in.refused {
		fmt.Fprintf(os.Stderr, "one that was refused: %s: %s\n", item.Reason, item.Message)
		break
	}
}
