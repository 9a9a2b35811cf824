"""doors/server"""
