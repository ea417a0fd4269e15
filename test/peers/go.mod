module gatehouse/peers

go 1.26.0
