"""The Open Inference Protocol over gRPC, by the extra ``grpc``: the same callers, limits and models as over HTTP."""
