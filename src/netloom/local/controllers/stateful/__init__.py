"""StatefulSets: pods with a name, a place in a row and volumes of their own."""
