package supervisor

import "context"

// service gives a function the shape that the tree wants, and a name: a service
// without one is printed whole, with what others are writing in it at that moment.
type service struct {
	name  string
	serve func(context.Context) error
}

func (s service) Serve(ctx context.Context) error { return s.serve(ctx) }

func (s service) String() string { return s.name }
