// search.go - searches in batches, with queries and answers as columns.
//
// Happy path: each request carries up to batchQueries rows of floats; each answer holds, for each
// query, its ids and distances as runs of little-endian bytes, which are decoded in place. With the
// read token of the stream each answer sees what the stream wrote.
// Failure modes: a query that is refused has an error in its result, and no hits; a status of the
// server (the sentence names field, value and limit); an answer whose columns do not fit each other.
// UNAVAILABLE is tried again by gRPC itself (main.go).
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"strconv"

	pb "omendb-client-go/omendb/v1"
)

const batchQueries = 256

type hit struct {
	id       string // a number, or a key as it is
	distance float32
}

// search returns the hits of every query, in the order of the queries.
func search(ctx context.Context, client pb.VectorServiceClient, collection string,
	queries matrix, options *pb.SearchOptions, minRead *pb.ReadToken) ([][]hit, error) {
	var found [][]hit
	for from := 0; from < queries.rows(); from += batchQueries {
		to := from + batchQueries
		if to > queries.rows() {
			to = queries.rows()
		}
		response, err := client.Search(ctx, &pb.SearchRequest{
			Collection: collection,
			Columns: &pb.QueryColumns{Dim: uint32(queries.dim),
				VectorsF32Le: queries.slice(from, to)},
			Options: options,
			Layout:  pb.ResultLayout_RESULT_LAYOUT_COLUMNS,
			MinRead: minRead,
		})
		if err != nil {
			return nil, err
		}
		if len(response.Results) != to-from {
			return nil, fmt.Errorf("%d results for %d queries", len(response.Results), to-from)
		}
		for i, result := range response.Results {
			if result.Code != 0 { // the others have been answered
				fmt.Fprintf(os.Stderr, "query %d: %s: %s\n", from+i, result.Reason, result.Message)
			}
			hits, err := decodeHits(result)
			if err != nil {
				return nil, err
			}
			found = append(found, hits)
		}
	}
	return found, nil
}

func decodeHits(result *pb.QueryResult) ([]hit, error) {
	count := len(result.IdsLe) / 8
	if len(result.IdsLe) != 8*count || len(result.DistancesLe) != 4*count ||
		(len(result.Keys) != 0 && len(result.Keys) != count) {
		return nil, fmt.Errorf("%d bytes of ids, %d bytes of distances, %d keys",
			len(result.IdsLe), len(result.DistancesLe), len(result.Keys))
	}
	hits := make([]hit, count)
	for i := range hits {
		if len(result.Keys) > 0 { // a key is among the hits
			hits[i].id = nameOf(result.Keys[i])
		} else {
			hits[i].id = strconv.FormatUint(binary.LittleEndian.Uint64(result.IdsLe[8*i:]), 10)
		}
		bits := binary.LittleEndian.Uint32(result.DistancesLe[4*i:])
		hits[i].distance = math.Float32frombits(bits)
	}
	return hits, nil
}
