// rows.go - the rows that the program sends, and the floats of the wire.
//
// Happy path: a file of little-endian f32 values, row after row, or rows that a seed makes.
// Failure modes: a file that cannot be read, or that does not hold whole rows.
package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand"
	"os"

	pb "omendb-client-go/omendb/v1"
)

// matrix holds rows as the wire wants them: little-endian f32, one row after the other.
type matrix struct {
	dim   int
	bytes []byte
}

func (m matrix) rows() int { return len(m.bytes) / (4 * m.dim) }

// slice returns rows [from, to) without copying them.
func (m matrix) slice(from, to int) []byte { return m.bytes[from*4*m.dim : to*4*m.dim] }

// points returns rows [from, to) as single points, whose ids may be keys.
func (m matrix) points(ids idMaker, from, to int, ttl uint32) []*pb.Point {
	points := make([]*pb.Point, 0, to-from)
	for i := from; i < to; i++ {
		vector := &pb.Vector{Data: &pb.Vector_F32Le{F32Le: m.slice(i, i+1)}}
		points = append(points, &pb.Point{Id: ids.id(i), Vector: vector, TtlS: ttl})
	}
	return points
}

func floats(bytes []byte) []float32 {
	values := make([]float32, len(bytes)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(bytes[4*i:]))
	}
	return values
}

func readRows(path string, dim int) (matrix, error) {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return matrix{}, err
	}
	if len(bytes) == 0 || len(bytes)%(4*dim) != 0 {
		return matrix{}, fmt.Errorf("%s has %d bytes, not a multiple of %d: rows of %d floats",
			path, len(bytes), 4*dim, dim)
	}
	return matrix{dim, bytes}, nil
}

func randomRows(count, dim int, seed int64) matrix {
	random := rand.New(rand.NewSource(seed))
	bytes := make([]byte, 0, count*dim*4)
	for i := 0; i < count*dim; i++ {
		value := math.Float32bits(float32(random.NormFloat64()))
		bytes = binary.LittleEndian.AppendUint32(bytes, value)
	}
	return matrix{dim, bytes}
}
