// search.go - searches in batches, with queries and answers as columns.
//
// Happy path: each request carries up to batchQueries rows of floats; each answer holds, for each
// query, its ids and distances as runs of little-endian bytes, which are decoded in place.
// Failure modes: a status of the server (the sentence names field, value and limit); an answer
// whose columns do not fit each other. UNAVAILABLE is tried again by gRPC itself (main.go).
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	pb "omendb-client-go/omendb/v1"
)

const batchQueries = 256

type hit struct {
	id       uint64
	distance float32
}

// search returns the hits of every query, in the order of the queries.
func search(ctx context.Context, client pb.VectorServiceClient, collection string,
	queries matrix, options *pb.SearchOptions) ([][]hit, error) {
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
		})
		if err != nil {
			return nil, err
		}
		if len(response.Results) != to-from {
			return nil, fmt.Errorf("%d results for %d queries", len(response.Results), to-from)
		}
		for _, result := range response.Results {
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
	if len(result.IdsLe) != 8*count || len(result.DistancesLe) != 4*count {
		return nil, fmt.Errorf("%d bytes of ids, %d bytes of distances", len(result.IdsLe),
			len(result.DistancesLe))
	}
	hits := make([]hit, count)
	for i := range hits {
		hits[i].id = binary.LittleEndian.Uint64(result.IdsLe[8*i:])
		bits := binary.LittleEndian.Uint32(result.DistancesLe[4*i:])
		hits[i].distance = math.Float32frombits(bits)
	}
	return hits, nil
}
